// Writes what the fuzz targets start from, a folder a target: l2a-fuzz-seeds FOLDER
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "convert/construct.h"
#include "convert/convert.h"
#include "convert/saved_logits.h"
#include "graph/error.h"
#include "tests/convert/zero_checkpoint.h"
#include "tests/temporary_folder.h"

namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig =
    R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 512, "hidden_size": 32,
  "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
  "head_dim": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_act": "silu",
  "rope_theta": 10000.0, "tie_word_embeddings": true})";

void write_gguf(const fs::path& source, const fs::path& target, const char* type,
                std::optional<l2a::L2aMode> mode) {
  l2a::Checkpoint checkpoint = l2a::open_checkpoint(source);
  if (mode) {
    l2a::L2aConstruction construction;
    construction.mode = *mode;
    construction.window = 2;
    construction.sinks = *mode == l2a::L2aMode::widen ? 1 : 0;
    l2a::make_l2a(checkpoint, construction);
  }
  l2a::WriteOptions write;
  write.target = target;
  write.recipe = l2a::find_recipe(type);
  l2a::write_gguf(checkpoint, write);
}

void write_saved_logits(const fs::path& target) {
  constexpr std::int64_t kContext = 4, kVocabulary = 3;
  const std::vector<l2a::Token> tokens{0, 1, 2, 0};
  l2a::SavedLogitsWriter writer(target, tokens, kContext, kContext / 2, kVocabulary);
  const auto positions = static_cast<std::size_t>(kContext - kContext / 2 - 1);
  writer.add(std::vector<std::byte>(positions * kVocabulary * 2), std::vector<float>(positions),
             std::vector<l2a::Token>(positions));
  writer.finish();
}

void write_seeds(const fs::path& folder) {
  for (const char* target : {"gguf", "safetensors", "tokenizer_json", "config_json"}) {
    fs::remove_all(folder / target);
    fs::create_directories(folder / target);
  }
  const l2a::test::TemporaryFolder model;
  l2a::test::write_zero_checkpoint(model, kConfig);
  write_gguf(model.path(), folder / "gguf/no-tokenizer", "f32", {});
  fs::copy(model / "model.safetensors", folder / "safetensors/model");
  write_saved_logits(folder / "safetensors/saved-logits");
  const fs::path checkpoints = fs::path(L2A_TEST_DATA) / "checkpoints";
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy(checkpoints / "qwen3-tiny/model" / name, model / name);
  }
  fs::copy(model / "tokenizer.json", folder / "tokenizer_json/qwen");
  write_gguf(model.path(), folder / "gguf/dense", "q8_0", {});
  write_gguf(model.path(), folder / "gguf/add", "q4_0", l2a::L2aMode::add);
  write_gguf(model.path(), folder / "gguf/widen", "bf16", l2a::L2aMode::widen);
  for (const auto& checkpoint : fs::directory_iterator(checkpoints)) {
    const std::string name = checkpoint.path().filename().string();
    fs::copy(checkpoint.path() / "model/config.json", folder / "config_json" / name);
    // Smaller than the models, and of more types.
    fs::copy(checkpoint.path() / "expected.safetensors", folder / "safetensors" / name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw l2a::Error("usage: l2a-fuzz-seeds FOLDER");
    write_seeds(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "l2a-fuzz-seeds: %s\n", error.what());
    return 1;
  }
}
