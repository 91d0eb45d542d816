#include "convert/convert.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "convert/hf_config.h"
#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "convert/tensor_plan.h"
#include "graph/error.h"
#include "models/gguf.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::checkpoint;
using test::CheckpointFolder;
using test::contains;
using test::message_of;
using test::TemporaryFolder;

constexpr std::array kCheckpoints = {
    "qwen2-tiny",       "qwen3-tiny",       "qwen3-yarn-tiny",
    "llama-tiny",       "l2a-qwen2-tiny",   "l2a-qwen3-tiny",
    "l2a-qwen3-pruned", "l2a-qwen3-widen",  "l2a-qwen3-sparse-bf16",
    "l2a-llama-widen",  "l2a-qwen3-trained"};

ConvertResult convert(const std::filesystem::path& source, const std::filesystem::path& target,
                      Dtype type) {
  ConvertOptions options;
  options.source = source;
  options.target = target;
  options.type = type;
  return convert_checkpoint(options);
}

std::vector<float> all_floats(const SafetensorsTensor& tensor) {
  std::vector<float> values(tensor.data.size() / safetensors_type_bytes(tensor.type));
  read_floats(tensor, 0, values);
  return values;
}

std::vector<float> as_floats(std::span<const std::byte> data) {
  std::vector<float> values(data.size() / sizeof(float));
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

TEST_CASE("every checkpoint converts to f32 without losing a bit, and its hashes are right") {
  const TemporaryFolder folder;
  for (const char* name : kCheckpoints) {
    CAPTURE(name);
    const ConvertResult result = convert(checkpoint(name), folder / "out.gguf", Dtype::f32);
    const auto file = GgufFile::open(folder / "out.gguf");
    const HfConfig config = HfConfig::read(checkpoint(name));
    const Safetensors source = Safetensors::open_folder(checkpoint(name));
    const auto* hashes = std::get_if<std::vector<std::uint64_t>>(file->value("l2a.tensor_xxh3"));
    REQUIRE(hashes != nullptr);
    REQUIRE(hashes->size() == file->tensors().size());
    for (std::size_t i = 0; i < hashes->size(); ++i) {
      const auto data = file->tensors()[i].data;
      CHECK((*hashes)[i] == XXH3_64bits(data.data(), data.size()));
    }
    const auto plan = plan_tensors(config);
    CHECK(plan.size() == source.tensors().size());
    CHECK(plan.size() == result.tensors);
    CHECK(file->file_bytes() == result.file_bytes);
    for (const PlannedTensor& planned : plan) {
      CAPTURE(planned.target);
      const GgufTensor& stored = file->get_tensor(planned.target, planned.shape);
      REQUIRE(stored.dtype == Dtype::f32);
      if (planned.interleaved_heads == 0) {
        CHECK(as_floats(stored.data) == all_floats(*source.find(planned.source)));
      }
    }
  }
}

TEST_CASE("Q and K rows of Llama are paired (2i, 2i + 1), those of Qwen stay (i, i + D/2)") {
  const TemporaryFolder folder;
  convert(checkpoint("llama-tiny"), folder / "out.gguf", Dtype::f32);
  const auto file = GgufFile::open(folder / "out.gguf");
  const Safetensors source = Safetensors::open_folder(checkpoint("llama-tiny"));
  constexpr std::size_t kHeadDim = 16;
  constexpr std::size_t kColumns = 64;
  for (const auto& [letter, heads] :
       {std::pair{"q", std::size_t{4}}, std::pair{"k", std::size_t{2}}}) {
    const auto stored =
        as_floats(file->find_tensor(concat("blk.1.attn_", letter, ".weight"))->data);
    const auto given =
        all_floats(*source.find(concat("model.layers.1.self_attn.", letter, "_proj.weight")));
    for (std::size_t head = 0; head < heads; ++head) {
      for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
        const float* even = &stored[(head * kHeadDim + 2 * i) * kColumns];
        const float* low = &given[(head * kHeadDim + i) * kColumns];
        CHECK(std::equal(even, even + kColumns, low));
        CHECK(std::equal(even + kColumns, even + 2 * kColumns, low + kHeadDim / 2 * kColumns));
      }
    }
  }
}

TEST_CASE("matrices get the type asked for; norms, biases and routers stay f32") {
  const TemporaryFolder folder;
  for (const Dtype type : {Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
    convert(checkpoint("l2a-qwen2-tiny"), folder / "out.gguf", type);
    const auto file = GgufFile::open(folder / "out.gguf");
    CHECK(file->find_tensor("token_embd.weight")->dtype == type);
    CHECK(file->find_tensor("blk.0.attn_q_global.weight")->dtype == type);
    for (const char* plain :
         {"blk.0.attn_norm.weight", "blk.0.attn_q.bias", "blk.0.attn_router.weight",
          "blk.0.attn_norm_global.weight", "output_norm.weight"}) {
      CHECK(file->find_tensor(plain)->dtype == Dtype::f32);
    }
  }
}

TEST_CASE("the keys of an L2A model say what its configuration says") {
  const TemporaryFolder folder;
  const ConvertResult result =
      convert(checkpoint("l2a-qwen3-widen"), folder / "out.gguf", Dtype::bf16);
  CHECK(result.architecture == "l2a-qwen3");
  CHECK(result.warnings.empty());
  const auto file = GgufFile::open(folder / "out.gguf");
  CHECK(file->get_string("general.architecture") == "l2a-qwen3");
  CHECK(file->get_u64("l2a-qwen3.attention.sliding_window") == 12);
  CHECK(file->get_f64("l2a-qwen3.l2a.router.temperature") == 1.0);
  CHECK(file->get_f64("l2a-qwen3.l2a.router.threshold") == 0.5);
  CHECK(file->get_string("l2a-qwen3.l2a.mode") == "widen");
  CHECK(file->get_u64("l2a-qwen3.l2a.sinks") == 3);
  CHECK(*file->find_bools("l2a-qwen3.l2a.global_layers") ==
        std::vector<bool>{true, true, false, true});
  CHECK(file->get_u64("l2a-qwen3.attention.key_length") == 32);
  CHECK(file->get_u64("general.file_type") == 32);
  CHECK(file->get_strings("tokenizer.ggml.tokens").size() == 512);
  CHECK(file->get_u64("tokenizer.ggml.eos_token_id") == 511);
  CHECK(file->find_tensor("blk.2.attn_router.weight") == nullptr);
}

TEST_CASE("a router that is no projection becomes the row of weights that does the same") {
  const auto router_of = [](const json& fields) {
    const CheckpointFolder model("l2a-qwen3-tiny");
    model.edit_json("config.json", [&](json& config) { config.update(fields); });
    convert(model.path(), model.path() / "out.gguf", Dtype::bf16);
    const auto file = GgufFile::open(model.path() / "out.gguf");
    for (const char* layer : {"0", "2"}) {
      const GgufTensor* router = file->find_tensor(concat("blk.", layer, ".attn_router.weight"));
      REQUIRE(router != nullptr);
      CHECK(router->dtype == Dtype::f32);
      CHECK(router->shape == std::vector<std::int64_t>{1, 64});
    }
    return as_floats(file->find_tensor("blk.1.attn_router.weight")->data);
  };
  std::vector<float> first(64, 0.0f);
  first[0] = 1.0f;
  CHECK(router_of({{"sig_input_type", "hidden_firstdim"}}) == first);
  CHECK(router_of({{"sigmoid_linear", false}}) == std::vector<float>(64, 1.0f / 64));
}

TEST_CASE("NaN in a GGUF file is found even where its type stays") {
  const TemporaryFolder folder;
  convert(checkpoint("llama-tiny"), folder / "a.gguf", Dtype::f32);
  std::vector<float> norm(64, 1.0f);
  norm[63] = INFINITY;
  test::EditedGguf(*GgufFile::open(folder / "a.gguf"))
      .set_tensor("blk.1.ffn_norm.weight", {64}, norm)
      .write(folder / "b.gguf");
  CHECK(contains(
      message_of<FileError>([&] { convert(folder / "b.gguf", folder / "c.gguf", Dtype::f32); }),
      "'blk.1.ffn_norm.weight' holds inf"));
  CHECK(folder.entries() == 2);
}

TEST_CASE("a GGUF file with more tokens than its embedding has rows is refused") {
  const TemporaryFolder folder;
  convert(checkpoint("qwen2-tiny"), folder / "a.gguf", Dtype::f32);
  const std::vector<float> embedding(std::size_t{511} * 64, 0.5f);
  test::EditedGguf(*GgufFile::open(folder / "a.gguf"))
      .set_tensor("token_embd.weight", {511, 64}, embedding)
      .write(folder / "b.gguf");
  CHECK(contains(
      message_of<FileError>([&] { convert(folder / "b.gguf", folder / "c.gguf", Dtype::f32); }),
      "tokenizer.ggml.tokens has 512 entries; the embedding has 511 rows"));
}

TEST_CASE("an attention factor is written relative to yarn's usual one") {
  const CheckpointFolder model("qwen3-yarn-tiny");
  convert(model.path(), model.path() / "out.gguf", Dtype::f16);
  CHECK_FALSE(GgufFile::open(model.path() / "out.gguf")->has("qwen3.rope.scaling.attn_factor"));
  model.edit_json("config.json",
                  [](json& config) { config["rope_parameters"]["attention_factor"] = 1.25; });
  convert(model.path(), model.path() / "out.gguf", Dtype::f16);
  const auto file = GgufFile::open(model.path() / "out.gguf");
  const double usual = 0.1 * std::log(4.0) + 1.0;
  CHECK(file->get_f64("qwen3.rope.scaling.attn_factor") * usual == doctest::Approx(1.25));
  CHECK(file->get_u64("qwen3.rope.scaling.original_context_length") == 32);
}

TEST_CASE("a checkpoint without a tokenizer converts with a warning") {
  const TemporaryFolder folder;
  const ConvertResult result =
      convert(checkpoint("l2a-qwen3-trained"), folder / "out.gguf", Dtype::f16);
  REQUIRE(result.warnings.size() == 1);
  CHECK(contains(result.warnings[0], "no tokenizer.json"));
  CHECK(GgufFile::open(folder / "out.gguf")->get_string("tokenizer.ggml.model") == "no_vocab");
}

TEST_CASE("progress ends at the total") {
  const TemporaryFolder folder;
  std::uint64_t last = 0;
  std::uint64_t expected = 1;
  WriteOptions options;
  options.recipe = find_recipe("f16");
  options.target = folder / "out.gguf";
  options.progress = [&](std::uint64_t done, std::uint64_t total, std::string_view) {
    CHECK(done > last);
    last = done;
    expected = total;
  };
  write_gguf(open_checkpoint(checkpoint("qwen2-tiny")), options);
  CHECK(last == expected);
}

TEST_CASE("a conversion that cannot succeed says why in one line and leaves nothing") {
  const auto failure = [](const char* name, Dtype type, auto damage) {
    const CheckpointFolder model(name);
    damage(model);
    const TemporaryFolder folder;
    std::string message =
        message_of<FileError>([&] { convert(model.path(), folder / "out.gguf", type); });
    CHECK(folder.entries() == 0);
    CHECK(message.find('\n') == std::string::npos);
    return message;
  };
  const auto with_value = [](float value) {
    return [value](const CheckpointFolder& model) {
      model.set_first_value("model.layers.2.mlp.up_proj.weight", value);
    };
  };
  const std::string up = "tensor 'model.layers.2.mlp.up_proj.weight'";
  CHECK(contains(failure("llama-tiny", Dtype::f32, with_value(std::nanf(""))), up + " holds nan"));
  CHECK(contains(failure("llama-tiny", Dtype::bf16, with_value(INFINITY)), up + " holds inf"));
  CHECK(contains(failure("llama-tiny", Dtype::f16, with_value(70000.0f)), "which f16 cannot hold"));
  CHECK(contains(failure("llama-tiny", Dtype::q8_0, with_value(1e7f)), "which q8_0 cannot hold"));
}

TEST_CASE("a configuration that the tensors contradict is refused") {
  const auto failure = [](const char* name, const char* field, const json& value) {
    const CheckpointFolder model(name);
    model.edit_json("config.json", [&](json& root) { root[field] = value; });
    const TemporaryFolder folder;
    std::string message =
        message_of<FileError>([&] { convert(model.path(), folder / "out.gguf", Dtype::f16); });
    CHECK(folder.entries() == 0);
    return message;
  };
  CHECK(contains(failure("llama-tiny", "intermediate_size", 161),
                 "gate_proj.weight' has shape [160, 64]; config.json asks for [161, 64]"));
  CHECK(contains(failure("llama-tiny", "num_hidden_layers", 4),
                 "'model.layers.3.input_layernorm.weight' is missing"));
  CHECK(
      contains(failure("qwen2-tiny", "tie_word_embeddings", false), "'lm_head.weight' is missing"));
}

TEST_CASE("tensors that no layer uses are mentioned") {
  const CheckpointFolder model("llama-tiny");
  model.edit_json("config.json", [](json& config) { config["num_hidden_layers"] = 2; });
  const TemporaryFolder folder;
  const ConvertResult result = convert(model.path(), folder / "out.gguf", Dtype::f16);
  REQUIRE(result.warnings.size() == 1);
  CHECK(contains(result.warnings[0], "9 tensors are not used, 'model.layers.2."));
}

TEST_CASE("q8_0 falls back to f16 where rows are not whole blocks, and says so") {
  const TemporaryFolder model;
  const TemporaryFolder folder;
  model.write("config.json",
              R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 4, "hidden_size": 48,
      "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16,
      "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true})");
  const auto plan = plan_tensors(HfConfig::read(model.path()));
  SafetensorsWriter writer(model / "model.safetensors");
  std::size_t values = 0;
  for (const PlannedTensor& planned : plan) {
    writer.add_tensor(planned.source, SafetensorsType::f32, planned.shape);
    values += static_cast<std::size_t>(planned.shape[0] *
                                       (planned.shape.size() > 1 ? planned.shape[1] : 1));
  }
  writer.write_values<float>(std::vector<float>(values, 0.5f));
  writer.finish();
  const ConvertResult result = convert(model.path(), folder / "out.gguf", Dtype::q8_0);
  CHECK(contains(result.warnings.back(), "6 tensors are stored as f16"));
  const auto file = GgufFile::open(folder / "out.gguf");
  CHECK(file->find_tensor("blk.0.attn_q.weight")->dtype == Dtype::f16);
  CHECK(file->find_tensor("blk.0.ffn_down.weight")->dtype == Dtype::q8_0);
  CHECK(file->find_tensor("blk.0.attn_output.weight")->dtype == Dtype::q8_0);
}

TEST_CASE("an input is never overwritten") {
  const CheckpointFolder model("llama-tiny");
  const auto weights = model.path() / "model.safetensors";
  const std::string before = test::read_file(weights);
  CHECK(contains(message_of<FileError>([&] { convert(model.path(), weights, Dtype::f16); }),
                 "is an input"));
  const auto link = model.path() / "link.gguf";
  std::filesystem::create_hard_link(weights, link);
  CHECK(contains(message_of<FileError>([&] { convert(model.path(), link, Dtype::f16); }),
                 "is an input"));
  CHECK(test::read_file(weights) == before);
  CHECK(contains(message_of<FileError>([&] { convert(weights, link, Dtype::f16); }),
                 "is not a GGUF file"));
}

}  // namespace
}  // namespace l2a
