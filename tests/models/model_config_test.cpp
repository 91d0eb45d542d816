// What a model's metadata may not say. Each file is a good one with one thing changed.
#include "models/model_config.h"

#include <doctest/doctest.h>

#include <functional>

#include "graph/error.h"
#include "tests/models/edited_gguf.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

using Edit = std::function<void(EditedGguf&)>;

// Files of one converted checkpoint with edits.
class ConfigFiles {
 public:
  explicit ConfigFiles(std::string_view name)
      : source_(convert_to(folder_ / "source.gguf", checkpoint(name))) {}

  std::shared_ptr<const GgufFile> edited(const Edit& edit) const {
    EditedGguf file(*source_);
    edit(file);
    file.write(folder_ / "edited.gguf");
    return GgufFile::open(folder_ / "edited.gguf");
  }
  ModelConfig read(const Edit& edit) const { return ModelConfig::from_gguf(*edited(edit)); }

  // The config must be refused by a FileError that names the file and each of `parts`.
  void check_refused(const Edit& edit, std::initializer_list<std::string_view> parts) const {
    const std::string message = message_of<FileError>([&] { read(edit); });
    CHECK_MESSAGE(message.starts_with((folder_ / "edited.gguf").string()), message);
    for (const std::string_view part : parts)
      CHECK_MESSAGE(contains(message, part), "'", message, "' does not say: ", part);
  }
  // The value of a key of the architecture must be refused, by a message that names the key.
  template <class T>
  void check_refused_value(std::string_view suffix, T value, std::string_view why) const {
    check_refused([&](EditedGguf& file) { file.set(file.key(suffix), value); }, {suffix, why});
  }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<const GgufFile> source_;
};

constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;

TEST_CASE("a config holds what the file says") {
  const ConfigFiles files("l2a-qwen3-widen");
  const ModelConfig config = files.read([](EditedGguf&) {});
  CHECK(config.architecture == "l2a-qwen3");
  CHECK(config.family == Family::qwen3);
  CHECK(config.vocabulary == 512);
  CHECK(config.hidden == 96);
  CHECK(config.layers == 4);
  CHECK(config.feed_forward == 192);
  CHECK(config.heads == 4);
  CHECK(config.kv_heads == 2);
  CHECK(config.head_dim == 32);
  CHECK(config.context == 131072);
  CHECK(config.norm_eps == 1e-6f);
  CHECK(config.rope_base == 1e6);
  REQUIRE(config.l2a);
  CHECK(config.l2a->mode == L2aMode::widen);
  CHECK(config.l2a->window == 12);
  CHECK(config.l2a->sinks == 3);
  CHECK(config.l2a->temperature == 1);
  CHECK(config.l2a->threshold == 0.5);
  CHECK(config.l2a->global_layers == std::vector<bool>{true, true, false, true});
  CHECK(config.l2a->routed_layers() == 3);
  CHECK(config.routes(1));
  CHECK(!config.routes(2));
}

TEST_CASE("settings that a file leaves out take the ecosystem's values") {
  const ConfigFiles files("l2a-qwen2-tiny");
  const ModelConfig config = files.read([](EditedGguf& file) {
    for (const std::string suffix :
         {"attention.head_count_kv", "attention.key_length", "attention.value_length",
          "rope.freq_base", "l2a.mode", "l2a.sinks", "l2a.global_layers"}) {
      file.erase(file.key(suffix));
    }
  });
  CHECK(config.kv_heads == config.heads);
  CHECK(config.head_dim == 96 / 4);
  CHECK(config.rope_base == 10000);
  CHECK(config.l2a->mode == L2aMode::add);
  CHECK(config.l2a->sinks == 0);
  CHECK(config.l2a->global_layers == std::vector<bool>(4, true));
}

TEST_CASE("only a llama file pairs neighbours in RoPE") {
  CHECK(ConfigFiles("llama-tiny").read([](EditedGguf&) {}).attention_heads().pairing ==
        RopePairing::interleaved);
  CHECK(ConfigFiles("qwen2-tiny").read([](EditedGguf&) {}).attention_heads().pairing ==
        RopePairing::half);
}

TEST_CASE("an architecture that is not known is refused by its name") {
  const ConfigFiles files("qwen3-tiny");
  for (const std::string name : {"gpt2", "qwen3moe", "l2a-gpt2", "l2a-l2a-qwen3", "l2a-", ""}) {
    CAPTURE(name);
    files.check_refused([&](EditedGguf& file) { file.rename_architecture(name); },
                        {"general.architecture", concat("'", name, "'"), "qwen3"});
  }
  files.check_refused([](EditedGguf& file) { file.erase("general.architecture"); },
                      {"general.architecture", "missing"});
  files.check_refused([](EditedGguf& file) { file.set("general.architecture", 3); },
                      {"general.architecture", "a string was expected"});
}

TEST_CASE("sizes must be there, positive, and no larger than any model's") {
  const ConfigFiles files("qwen3-tiny");
  for (const std::string suffix : {"block_count", "embedding_length", "feed_forward_length",
                                   "attention.head_count", "context_length"}) {
    CAPTURE(suffix);
    files.check_refused([&](EditedGguf& file) { file.erase(file.key(suffix)); },
                        {suffix, "missing"});
    files.check_refused_value(suffix, 0, "is 0");
    files.check_refused_value(suffix, -1, "is -1");
    files.check_refused_value(suffix, kHuge, "is 1099511627776");
    files.check_refused_value(suffix, 2.0, "integer");
    files.check_refused_value(suffix, "2", "integer");
  }
  for (const std::string suffix :
       {"attention.head_count_kv", "attention.key_length", "attention.value_length"}) {
    CAPTURE(suffix);
    files.check_refused_value(suffix, 0, "is 0");
    files.check_refused_value(suffix, kHuge, "is 1099511627776");
    files.check_refused_value(suffix, std::vector<std::uint64_t>{2, 2, 2}, "integer");
  }
}

TEST_CASE("heads must divide and have an even size, the same for keys and values") {
  const ConfigFiles files("qwen3-tiny");
  files.check_refused_value("attention.head_count_kv", 3, "does not divide the 4 query heads");
  files.check_refused_value("attention.head_count_kv", 8, "does not divide");
  files.check_refused_value("attention.value_length", 16, "differs from the key length");
  files.check_refused(
      [](EditedGguf& file) {
        file.set(file.key("attention.key_length"), 31);
        file.set(file.key("attention.value_length"), 31);
      },
      {"attention.key_length", "is odd"});
}

TEST_CASE("the embedding gives the vocabulary and must agree with the hidden size") {
  const ConfigFiles files("qwen3-tiny");
  files.check_refused([](EditedGguf& file) { file.erase_tensor("token_embd.weight"); },
                      {"token_embd.weight", "[vocabulary, 64]"});
  files.check_refused(
      [](EditedGguf& file) {
        file.reshape_tensor("token_embd.weight", {512, 32});
      },
      {"token_embd.weight", "[vocabulary, 64]"});
  files.check_refused(
      [](EditedGguf& file) { file.reshape_tensor("token_embd.weight", {512 * 64}); },
      {"token_embd.weight", "[vocabulary, 64]"});
}

TEST_CASE("the norm's epsilon must be a positive number") {
  const ConfigFiles files("qwen3-tiny");
  const char* const suffix = "attention.layer_norm_rms_epsilon";
  for (const double value : {0.0, -1e-6, double{NAN}, double{INFINITY}}) {
    CAPTURE(value);
    files.check_refused_value(suffix, value, "a positive number was expected");
  }
  files.check_refused([&](EditedGguf& file) { file.erase(file.key(suffix)); }, {suffix, "missing"});
}

TEST_CASE("RoPE settings out of their range or not known are refused") {
  const ConfigFiles plain("qwen3-tiny"), yarn("qwen3-yarn-tiny");
  for (const double base : {1.0, 0.0, -1e4, double{NAN}, double{INFINITY}}) {
    CAPTURE(base);
    plain.check_refused_value("rope.freq_base", base, "above 1 was expected");
  }
  plain.check_refused_value("rope.dimension_count", 16, "only a part of each head");
  plain.check_refused([](EditedGguf& file) { file.set(file.key("rope.scaling.type"), "linear"); },
                      {"rope.scaling.factor", "missing"});
  yarn.check_refused_value("rope.scaling.type", "longrope", "none, linear or yarn");
  for (const double factor : {0.0, 0.5, -4.0, double{NAN}, double{INFINITY}}) {
    CAPTURE(factor);
    yarn.check_refused_value("rope.scaling.factor", factor, "at least 1 was expected");
  }
  yarn.check_refused_value("rope.scaling.original_context_length", 0, "is 0");
  yarn.check_refused_value("rope.scaling.original_context_length", kHuge, "is 1099511627776");
  for (const std::string suffix :
       {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.attn_factor"}) {
    CAPTURE(suffix);
    yarn.check_refused_value(suffix, 0.0, "a positive number was expected");
    yarn.check_refused_value(suffix, double{NAN}, "a positive number was expected");
  }
}

TEST_CASE("a file's YaRN attention factor multiplies the usual one") {
  const ConfigFiles files("qwen3-yarn-tiny");
  const ModelConfig config =
      files.read([](EditedGguf& file) { file.set(file.key("rope.scaling.attn_factor"), 1.5); });
  // 1.5 * (0.1 ln 4 + 1)
  CHECK(config.rope_scaling.attention_factor.value() == doctest::Approx(1.70794415).epsilon(1e-7));
}

TEST_CASE("a dense model with a sliding window is refused, not run without it") {
  const ConfigFiles files("qwen2-tiny");
  files.check_refused_value("attention.sliding_window", 4096, "not supported");
  CHECK_NOTHROW(files.read([](EditedGguf& file) {  // 0: none
    file.set(file.key("attention.sliding_window"), 0);
  }));
}

TEST_CASE("router settings without a meaning are refused") {
  const ConfigFiles files("l2a-qwen3-tiny");
  for (const double threshold : {0.0, 1.0, -0.5, 2.0, double{NAN}}) {
    CAPTURE(threshold);
    files.check_refused_value("l2a.router.threshold", threshold, "between 0 and 1");
  }
  for (const double temperature : {0.0, -1.0, double{NAN}, double{INFINITY}}) {
    CAPTURE(temperature);
    files.check_refused_value("l2a.router.temperature", temperature, "a positive number");
  }
  for (const std::string suffix :
       {"l2a.router.threshold", "l2a.router.temperature", "attention.sliding_window"}) {
    CAPTURE(suffix);
    files.check_refused([&](EditedGguf& file) { file.erase(file.key(suffix)); },
                        {suffix, "missing"});
  }
}

TEST_CASE("L2A windows, sinks and modes without a meaning are refused") {
  const ConfigFiles files("l2a-qwen3-tiny");
  files.check_refused_value("attention.sliding_window", 0, "is 0");
  files.check_refused_value("attention.sliding_window", kHuge, "is 1099511627776");
  files.check_refused_value("l2a.mode", "narrow", "add or widen");
  files.check_refused_value("l2a.sinks", 4, "is 0 in mode add");
  ConfigFiles("l2a-llama-widen").check_refused_value("l2a.sinks", kHuge, "is 1099511627776");
}

TEST_CASE("there must be a word on pruning for every layer") {
  const ConfigFiles files("l2a-qwen3-tiny");
  files.check_refused_value("l2a.global_layers", std::vector<bool>(2, true), "2 entries for 3");
  files.check_refused_value("l2a.global_layers", std::vector<bool>(4, true), "4 entries for 3");
  files.check_refused_value("l2a.global_layers", std::vector<bool>{}, "0 entries for 3");
  files.check_refused_value("l2a.global_layers", std::vector<std::uint64_t>{1, 1, 1}, "booleans");
}

TEST_CASE("what a fit left in a file is finite, ascending, and for every layer") {
  const ConfigFiles files("l2a-qwen3-widen");
  using Numbers = std::vector<double>;
  const ModelConfig config = files.read([](EditedGguf& file) {
    file.set(file.key("l2a.router.skip_logits"), Numbers{-1, 0.5});
    file.set(file.key("l2a.router.need_scales"), Numbers{-2, 0, 1, 3});
  });
  CHECK(config.l2a->skip_logits == Numbers{-1, 0.5});
  CHECK(config.l2a->need_scales == Numbers{-2, 0, 1, 3});
  const char* const skips = "must be two or more finite numbers, ascending";
  for (const Numbers& wrong : {Numbers{1}, Numbers{1, 0}, Numbers{0, NAN}, Numbers{0, INFINITY}})
    files.check_refused_value("l2a.router.skip_logits", wrong, skips);
  const char* const scales = "must be a finite number for each layer";
  for (const Numbers& wrong : {Numbers{1}, Numbers{1, 2, 3}, Numbers{1, 2, 3, 4, 5},
                               Numbers{0, 1, NAN, 2}, Numbers{0, 1, 2, -INFINITY}})
    files.check_refused_value("l2a.router.need_scales", wrong, scales);
  for (const std::string suffix : {"l2a.router.skip_logits", "l2a.router.need_scales"}) {
    CAPTURE(suffix);
    files.check_refused_value(suffix, 1.0, "numbers");
    files.check_refused_value(suffix, std::vector<std::string>{"a", "b", "c", "d"}, "numbers");
  }
}

}  // namespace
}  // namespace l2a::test
