#include "convert/hf_writer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "convert/construct.h"
#include "convert/hf_config_json.h"
#include "convert/hf_tokenizer.h"
#include "convert/hf_tokenizer_json.h"
#include "convert/output_folder.h"
#include "convert/safetensors.h"
#include "graph/error.h"
#include "ops/quantize.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::checkpoint;
using test::CheckpointFolder;
using test::contains;
using test::EditedGguf;
using test::message_of;
using test::TemporaryFolder;

void to_gguf(const std::filesystem::path& source, const std::filesystem::path& target,
             std::string_view recipe) {
  WriteOptions options;
  options.target = target;
  options.recipe = find_recipe(recipe);
  write_gguf(open_checkpoint(source), options);
}

ConvertResult to_hf(const Checkpoint& source, const std::filesystem::path& folder,
                    std::optional<Dtype> type = {}) {
  HfWriteOptions options;
  options.folder = folder;
  options.type = type;
  return write_hf(source, options);
}

json json_of(const std::filesystem::path& file) { return json::parse(test::read_file(file)); }

std::vector<std::byte> stored_as(Dtype dtype, const SafetensorsTensor& tensor) {
  std::vector<float> values(tensor.data.size() / safetensors_type_bytes(tensor.type));
  read_floats(tensor, 0, values);
  std::vector<std::byte> bytes(dtype_bytes(dtype, static_cast<std::int64_t>(values.size())));
  quantize_row(dtype, values, bytes);
  return bytes;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST_CASE("every checkpoint comes back from GGUF with equal tensors and an equal configuration") {
  std::size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(checkpoint("x").parent_path().parent_path())) {
    const std::filesystem::path original = entry.path() / "model";
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      CAPTURE(original.string());
      CAPTURE(dtype_name(dtype));
      const TemporaryFolder folder;
      to_gguf(original, folder / "a.gguf", dtype_name(dtype));
      // The same last name: it is the model's.
      to_hf(open_checkpoint(folder / "a.gguf"), folder / "model");
      const Safetensors before = Safetensors::open_folder(original);
      const Safetensors after = Safetensors::open_folder(folder / "model");
      REQUIRE(after.tensors().size() == before.tensors().size());
      for (const auto& [key, tensor] : before.tensors()) {
        const std::string& name = key;  // Clang 14 cannot capture a structured binding
        CAPTURE(name);
        const SafetensorsTensor* back = after.find(name);
        REQUIRE(back != nullptr);
        CHECK(back->shape == tensor.shape);
        // Norms and routers of a float checkpoint keep their bits beside bf16 matrices.
        const bool kept = back->type == SafetensorsType::f32;
        CHECK((kept || (dtype == Dtype::bf16 && back->type == SafetensorsType::bf16)));
        CHECK(same_bytes(back->data, stored_as(kept ? Dtype::f32 : Dtype::bf16, tensor)));
        if (dtype == Dtype::bf16 && tensor.type == SafetensorsType::bf16) CHECK_FALSE(kept);
      }
      const HfConfig was = HfConfig::read(original), is = HfConfig::read(folder / "model");
      CHECK(is.attention_bias == was.attention_bias);
      CHECK(is.output_bias == was.output_bias);
      CHECK(is.tied_embeddings == was.tied_embeddings);
      // All else that a configuration and a tokenizer say is in the file's metadata.
      to_gguf(folder / "model", folder / "b.gguf", dtype_name(dtype));
      CHECK(test::read_file(folder / "a.gguf") == test::read_file(folder / "b.gguf"));
      ++count;
    }
  }
  CHECK(count >= 22);
}

TEST_CASE("numbers that a file holds as f32 come back as they were written") {
  const CheckpointFolder model("qwen3-yarn-tiny");
  model.edit_json("config.json", [](json& config) {
    config["rope_parameters"]["attention_factor"] = 1.25;
    config["rope_parameters"]["beta_fast"] = 31.7;
    config["rms_norm_eps"] = 1e-5;
  });
  const TemporaryFolder folder;
  to_gguf(model.path(), folder / "a.gguf", "f32");
  to_hf(open_checkpoint(folder / "a.gguf"), folder / "out");
  const json config = json_of(folder / "out/config.json");
  CHECK(config["rope_parameters"]["attention_factor"] == 1.25);
  CHECK(config["rope_parameters"]["beta_fast"] == 31.7);
  CHECK(config["rope_scaling"]["factor"] == 4.0);
  CHECK(config["rope_scaling"]["original_max_position_embeddings"] == 32);
  CHECK(config["rms_norm_eps"] == 1e-5);
  CHECK(config["rope_theta"] == 1e6);

  to_gguf(checkpoint("l2a-qwen2-tiny"), folder / "b.gguf", "f32");
  to_hf(open_checkpoint(folder / "b.gguf"), folder / "l2a");
  const json l2a = json_of(folder / "l2a/config.json");
  CHECK(l2a["model_type"] == "l2a_qwen2");
  CHECK(l2a["sigmoid_temp"] == 0.1);
  CHECK(l2a["sigmoid_threshold"] == 0.97);
  CHECK(l2a["sliding_window"] == 12);
}

TEST_CASE("quantized weights become bf16, or the type asked for; mixed ones f32") {
  const TemporaryFolder folder;
  to_gguf(checkpoint("llama-tiny"), folder / "a.gguf", "q8_0");
  const Checkpoint source = open_checkpoint(folder / "a.gguf");
  const std::string up = "model.layers.0.mlp.up_proj.weight";
  to_hf(source, folder / "default");
  CHECK(Safetensors::open_folder(folder / "default").find(up)->type == SafetensorsType::bf16);
  CHECK(json_of(folder / "default/config.json")["torch_dtype"] == "bfloat16");
  to_hf(source, folder / "f32", Dtype::f32);
  CHECK(Safetensors::open_folder(folder / "f32").find(up)->type == SafetensorsType::f32);
  CHECK(json_of(folder / "f32/config.json")["torch_dtype"] == "float32");

  to_gguf(checkpoint("llama-tiny"), folder / "f16.gguf", "f16");
  to_hf(open_checkpoint(folder / "f16.gguf"), folder / "f16");
  CHECK(Safetensors::open_folder(folder / "f16").find(up)->type == SafetensorsType::f16);
  EditedGguf(*GgufFile::open(folder / "f16.gguf"))
      .retype_tensor("blk.1.ffn_up.weight", Dtype::bf16)
      .write(folder / "mixed.gguf");
  to_hf(open_checkpoint(folder / "mixed.gguf"), folder / "mixed");
  CHECK(Safetensors::open_folder(folder / "mixed").find(up)->type == SafetensorsType::f32);
}

TEST_CASE("norms that bf16 cannot hold stay f32") {
  const TemporaryFolder folder;
  to_gguf(checkpoint("l2a-qwen3-sparse-bf16"), folder / "a.gguf", "bf16");
  std::vector<float> norm(128, 1.0f);
  EditedGguf(*GgufFile::open(folder / "a.gguf"))
      .set_tensor("blk.1.attn_norm.weight", {128}, norm)
      .write(folder / "same.gguf");
  norm[77] = 1.0f + 0x1p-20f;
  EditedGguf(*GgufFile::open(folder / "a.gguf"))
      .set_tensor("blk.1.attn_norm.weight", {128}, norm)
      .write(folder / "other.gguf");
  const std::string name = "model.layers.1.input_layernorm.weight";
  to_hf(open_checkpoint(folder / "same.gguf"), folder / "same");
  CHECK(Safetensors::open_folder(folder / "same").find(name)->type == SafetensorsType::bf16);
  to_hf(open_checkpoint(folder / "other.gguf"), folder / "other");
  const Safetensors other = Safetensors::open_folder(folder / "other");
  REQUIRE(other.find(name)->type == SafetensorsType::f32);
  CHECK(same_bytes(other.find(name)->data, std::as_bytes(std::span(norm))));
}

TEST_CASE("a model above the size of a shard becomes several, and reads the same") {
  const TemporaryFolder folder;
  HfWriteOptions options;
  options.folder = folder / "shards/";  // the slash changes nothing
  options.shard_bytes = 50'000;
  std::uint64_t last = 0, expected = 1;
  options.progress = [&](std::uint64_t done, std::uint64_t total, std::string_view) {
    CHECK(done > last);
    last = done;
    expected = total;
  };
  const ConvertResult result = write_hf(open_checkpoint(checkpoint("qwen3-tiny")), options);
  CHECK(last == expected);
  const json index = json_of(folder / "shards/model.safetensors.index.json");
  CHECK(index["metadata"]["total_size"] == expected);
  CHECK(index["weight_map"]["lm_head.weight"] != index["weight_map"]["model.norm.weight"]);
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "shards")) {
    bytes += entry.file_size();
    // No tensor here is larger than the embedding's 512 * 64 floats.
    if (entry.path().extension() == ".safetensors") CHECK(entry.file_size() < 140'000);
  }
  CHECK(bytes == result.file_bytes);
  CHECK(folder.entries() == 1);
  to_hf(open_checkpoint(checkpoint("qwen3-tiny")), folder / "one");
  const Safetensors shards = Safetensors::open_folder(folder / "shards");
  const Safetensors one = Safetensors::open_folder(folder / "one");
  CHECK(shards.files().size() > 4);
  CHECK(one.files().size() == 1);
  for (const auto& [name, tensor] : one.tensors()) {
    CHECK(same_bytes(tensor.data, shards.find(name)->data));
  }
}

TEST_CASE("an L2A model that was made here goes to PyTorch as one of the paper's") {
  const TemporaryFolder folder;
  Checkpoint model = open_checkpoint(checkpoint("qwen3-tiny"));
  make_l2a(model, {});
  prune_layers(model, std::vector<std::int64_t>{1});
  to_hf(model, folder / "out");
  const HfConfig config = HfConfig::read(folder / "out");
  CHECK(config.model.architecture == "l2a-qwen3");
  CHECK(config.model.l2a->window == 4095);
  CHECK(config.model.l2a->global_layers == std::vector<bool>{true, false, true});
  const Safetensors files = Safetensors::open_folder(folder / "out");
  CHECK(same_bytes(files.find("model.layers.2.self_attn.q_proj_global.weight")->data,
                   files.find("model.layers.2.self_attn.q_proj.weight")->data));
  CHECK(files.find("model.layers.1.self_attn.q_proj_global.weight") == nullptr);
  CHECK(open_checkpoint(folder / "out").warnings.empty());
}

TEST_CASE("a folder that cannot be written is refused in one line and nothing is left") {
  const TemporaryFolder folder;
  const auto failure = [&](const Checkpoint& source, std::string_view target) {
    const auto before = folder.entries();
    std::string message = message_of<FileError>([&] { to_hf(source, folder / target); });
    CHECK(folder.entries() == before);
    CHECK(message.find('\n') == std::string::npos);
    return message;
  };
  const Checkpoint model = open_checkpoint(checkpoint("llama-tiny"));
  std::filesystem::create_directory(folder / "full");
  folder.write("full/notes.txt", "mine");
  CHECK(contains(failure(model, "full"), "full: exists and is not an empty folder"));
  CHECK(test::read_file(folder / "full/notes.txt") == "mine");
  folder.write("file", "");
  CHECK(contains(failure(model, "file"), "not an empty folder"));
  CHECK(contains(failure(model, "none/out"), "none/out: cannot be created"));
  std::filesystem::create_directory(folder / "empty");
  CHECK(failure(model, "empty").empty());
  CHECK(std::filesystem::exists(folder / "empty/config.json"));

  to_gguf(checkpoint("llama-tiny"), folder / "a.gguf", "f32");
  const auto edited = [&](auto edit) {
    EditedGguf file(*GgufFile::open(folder / "a.gguf"));
    edit(file);
    file.write(folder / "edited.gguf");
    return failure(open_checkpoint(folder / "edited.gguf"), "out");
  };
  folder.write("edited.gguf", "");
  const std::vector<float> eight(8, 2.0f);
  CHECK(contains(edited([&](EditedGguf& f) { f.set_tensor("rope_freqs.weight", {8}, eight); }),
                 "'rope_freqs.weight' has no place"));
  CHECK(contains(edited([](EditedGguf& f) { f.erase_tensor("blk.2.ffn_up.weight"); }),
                 "'blk.2.ffn_up.weight' is missing"));
  CHECK(contains(edited([](EditedGguf& f) {
                   f.reshape_tensor("blk.2.ffn_up.weight", {80, 64});
                 }),
                 "has shape [80, 64]; [160, 64] was expected"));
  std::vector<float> norm(64, 1.0f);
  norm[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(edited([&](EditedGguf& f) { f.set_tensor("output_norm.weight", {64}, norm); }),
                 "'output_norm.weight' holds nan"));
}

TEST_CASE("an interrupted folder leaves nothing") {
  const TemporaryFolder folder;
  {
    const OutputFolder output(folder / "out", {"a", "b"});
    std::ofstream(output.file("a")) << "x";
    CHECK(folder.entries() == 1);
    CHECK(contains(message_of<FileError>([&] { const OutputFolder other(folder / "x", {}); }),
                   "another folder"));
    remove_output_folder();  // as a signal's handler does
    CHECK(folder.entries() == 0);
  }
  { const OutputFolder dropped(folder / "out", {"a"}); }
  CHECK(folder.entries() == 0);
}

TEST_CASE("a tokenizer comes back as it was: SmolLM's too, with tokens of every kind") {
  const CheckpointFolder model("llama-tiny");
  model.edit_json("tokenizer.json", [](json& tokenizer) {
    tokenizer["normalizer"] = nullptr;
    tokenizer["pre_tokenizer"] = json::parse(
        R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
            {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})");
    tokenizer["added_tokens"][2]["special"] = false;
    tokenizer["added_tokens"].erase(1);
  });
  model.edit_json("tokenizer_config.json", [](json& config) {
    config["eos_token"] = "<|endoftext|>";
    config["chat_template"] = "t \u00e9";
    config["add_bos_token"] = true;
  });
  const HfConfig config = HfConfig::read(model.path());
  TokenizerData data = HfTokenizer::read(model.path(), config)->data;
  const TemporaryFolder folder;
  folder.write("tokenizer.json", hf_tokenizer_json(data, "x").dump());
  folder.write("tokenizer_config.json", hf_tokenizer_config_json(data, 64).dump());
  const TokenizerData back = HfTokenizer::read(folder.path(), config)->data;
  CHECK(back.pre == "smollm");
  CHECK(back.tokens == data.tokens);
  CHECK(back.kinds == data.kinds);
  CHECK(back.merges == data.merges);
  CHECK(back.eos == data.eos);
  CHECK(back.padding == data.padding);
  CHECK_FALSE(back.bos.has_value());
  CHECK(back.add_bos);
  CHECK(back.chat_template == data.chat_template);

  CHECK(hf_generation_json(data)["eos_token_id"] == 509);
  data.eot = 511;
  CHECK(json(hf_generation_json(data)["eos_token_id"]) == json{509, 511});
  data.tokens[7] = data.tokens[300];
  CHECK(contains(message_of<FileError>([&] { hf_tokenizer_json(data, "x"); }),
                 "x: tokens 7 and 300 are both"));
  CHECK(hf_generation_json({}).is_null());
}

TEST_CASE("a tokenizer that has no Hugging Face form is left out with a warning") {
  const TemporaryFolder folder;
  to_gguf(checkpoint("qwen2-tiny"), folder / "a.gguf", "f32");
  EditedGguf(*GgufFile::open(folder / "a.gguf"))
      .set("tokenizer.ggml.model", "llama")
      .write(folder / "b.gguf");
  const ConvertResult result = to_hf(open_checkpoint(folder / "b.gguf"), folder / "out");
  REQUIRE(result.warnings.size() == 1);
  CHECK(contains(result.warnings[0], "the folder has no tokenizer"));
  CHECK_FALSE(std::filesystem::exists(folder / "out/tokenizer.json"));

  EditedGguf bad(*GgufFile::open(folder / "a.gguf"));
  bad.set("tokenizer.chat_template", "\xff").write(folder / "c.gguf");
  CHECK(contains(
      message_of<FileError>([&] { to_hf(open_checkpoint(folder / "c.gguf"), folder / "bad"); }),
      "not UTF-8"));
  CHECK_FALSE(std::filesystem::exists(folder / "bad"));
}

}  // namespace
}  // namespace l2a
