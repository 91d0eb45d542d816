#include "convert/hf_tokenizer.h"

#include <doctest/doctest.h>

#include "graph/error.h"
#include "tests/convert/checkpoint_folder.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::CheckpointFolder;
using test::contains;
using test::message_of;
using Kind = TokenizerData::Kind;

HfTokenizer read(const CheckpointFolder& model) {
  return HfTokenizer::read(model.path(), HfConfig::read(model.path())).value();
}

template <class Edit>
std::string failure(Edit edit) {
  const CheckpointFolder model("qwen2-tiny");
  model.edit_json("tokenizer.json", edit);
  return message_of<FileError>([&] { read(model); });
}

TEST_CASE("a Qwen2 tokenizer becomes tokens, kinds, merges and special ids") {
  const CheckpointFolder model("qwen2-tiny");
  const HfTokenizer tokenizer = read(model);
  const TokenizerData& data = tokenizer.data;
  CHECK(data.pre == "qwen2");
  REQUIRE(data.tokens.size() == 512);
  CHECK(data.tokens[0] == "!");
  CHECK(data.kinds[0] == Kind::normal);
  CHECK(data.tokens[511] == "<|im_end|>");
  CHECK(data.kinds[511] == Kind::control);
  CHECK(data.merges.size() == 253);
  CHECK(data.merges[2] == "\u0120\u0120 \u0120");
  CHECK(data.eos == 511);
  CHECK(data.padding == 509);
  CHECK_FALSE(data.bos.has_value());
  CHECK_FALSE(data.add_bos);
  CHECK(contains(data.chat_template, "<|im_start|>"));
  CHECK(tokenizer.warnings.empty());
}

TEST_CASE("merges as strings, tokens that are not special, and ids beyond the vocabulary") {
  const CheckpointFolder model("qwen2-tiny");
  const HfTokenizer pairs = read(model);
  model.edit_json("tokenizer.json", [](json& tokenizer) {
    for (json& merge : tokenizer["model"]["merges"]) {
      merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    }
    tokenizer["added_tokens"][2]["special"] = false;
    tokenizer["added_tokens"].erase(1);
  });
  const HfTokenizer strings = read(model);
  CHECK(strings.data.merges == pairs.data.merges);
  CHECK(strings.data.kinds[511] == Kind::user_defined);
  CHECK(strings.data.tokens[510] == "[PAD510]");
  CHECK(strings.data.kinds[510] == Kind::unused);
}

TEST_CASE("SmolLM's way of splitting is recognised") {
  const CheckpointFolder model("llama-tiny");
  model.edit_json("tokenizer.json", [](json& tokenizer) {
    tokenizer["normalizer"] = nullptr;
    tokenizer["pre_tokenizer"] = json::parse(
        R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
            {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})");
  });
  const HfTokenizer tokenizer = read(model);
  CHECK(tokenizer.data.pre == "smollm");
  CHECK(tokenizer.warnings.empty());
}

TEST_CASE("the chat template comes from a list, or from a file of its own") {
  const CheckpointFolder model("qwen2-tiny");
  model.edit_json("tokenizer_config.json", [](json& config) {
    config["chat_template"] = {{{"name", "tools"}, {"template", "t"}},
                               {{"name", "default"}, {"template", "d"}}};
    config["eos_token"] = {{"content", "<|endoftext|>"}};
    config["add_bos_token"] = true;
  });
  CHECK(read(model).data.chat_template == "d");
  CHECK(read(model).data.eos == 509);
  CHECK(read(model).data.add_bos);
  model.folder().write("chat_template.jinja", "from a file");
  CHECK(read(model).data.chat_template == "from a file");
}

TEST_CASE("without tokenizer_config.json the ids come from the model's configuration") {
  const CheckpointFolder model("qwen2-tiny");
  std::filesystem::remove(model.path() / "tokenizer_config.json");
  model.edit_json("config.json", [](json& config) { config["eos_token_id"] = 510; });
  CHECK(read(model).data.eos == 510);
}

TEST_CASE("a tokenizer that is not supported or does not fit is refused") {
  CHECK(contains(failure([](json& t) { t["model"]["type"] = "Unigram"; }),
                 "'Unigram' is not supported"));
  CHECK(contains(failure([](json& t) { t["model"]["byte_fallback"] = true; }), "byte_fallback"));
  CHECK(contains(
      failure([](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x"; }),
      "'pre_tokenizer'"));
  CHECK(contains(failure([](json& t) { t.erase("pre_tokenizer"); }), "'pre_tokenizer'"));
  CHECK(contains(failure([](json& t) {
                   t["normalizer"] = {{"type", "Lowercase"}};
                 }),
                 "'normalizer'"));
  CHECK(contains(failure([](json& t) {
                   t["post_processor"] = {{"type", "TemplateProcessing"}};
                 }),
                 "'post_processor'"));
  CHECK(contains(failure([](json& t) { t["model"]["vocab"]["zz"] = 512; }),
                 "vocab_size allows 0 to 511"));
  CHECK(contains(failure([](json& t) { t["model"]["vocab"]["zz"] = -1; }), "the id -1"));
  CHECK(contains(failure([](json& t) { t["model"]["vocab"]["zz"] = 0; }), "have the same id 0"));
  CHECK(contains(failure([](json& t) { t["added_tokens"][0]["id"] = 3; }), "id 3 is given to"));
  CHECK(contains(failure([](json& t) { t["model"]["merges"][0] = "a"; }), "entry 0 is not a pair"));
  CHECK(contains(failure([](json& t) {
                   t["model"]["merges"][0] = {"a b", "c"};
                 }),
                 "entry 0 is not a pair"));
  CHECK(contains(failure([](json& t) { t["model"]["merges"][0] = 7; }), "entry 0 is not a pair"));
  CHECK(contains(failure([](json& t) { t["model"]["merges"][0] = "q zzz"; }),
                 "is not in the vocabulary"));
  CHECK(contains(failure([](json& t) { t.erase("model"); }), "'model.type': is missing"));
}

}  // namespace
}  // namespace l2a
