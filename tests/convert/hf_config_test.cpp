#include "convert/hf_config.h"

#include <doctest/doctest.h>

#include "graph/error.h"
#include "tests/convert/checkpoint_folder.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::CheckpointFolder;
using test::contains;
using test::message_of;

// What reading `checkpoint` says after `edit` on its config.json.
template <class Edit>
std::string failure(std::string_view checkpoint, Edit edit) {
  const CheckpointFolder model(checkpoint);
  model.edit_json("config.json", edit);
  return message_of<FileError>([&] { HfConfig::read(model.path()); });
}

std::string failure_with(std::string_view checkpoint, const char* field, const json& value) {
  return failure(checkpoint, [&](json& config) { config[field] = value; });
}

TEST_CASE("a dense configuration is read, with head_dim from the hidden size where it is absent") {
  const HfConfig config = HfConfig::read(test::checkpoint("llama-tiny"));
  CHECK(config.model.family == Family::llama);
  CHECK_FALSE(config.model.l2a.has_value());
  CHECK(config.model.head_dim == 16);
  CHECK(config.model.kv_heads == 2);
  CHECK(config.model.rope_base == 1e6);
  CHECK_FALSE(config.tied_embeddings);
  CHECK_FALSE(config.attention_bias);
  CHECK(HfConfig::read(test::checkpoint("qwen2-tiny")).attention_bias);
}

TEST_CASE("yarn scaling is read from rope_parameters and from the older rope_scaling") {
  const HfConfig newer = HfConfig::read(test::checkpoint("qwen3-yarn-tiny"));
  CHECK(newer.model.rope_scaling.kind == RopeScaling::Kind::yarn);
  CHECK(newer.model.rope_scaling.factor == 4.0);
  CHECK(newer.model.rope_scaling.original_context == 32);
  CHECK_FALSE(newer.model.rope_scaling.attention_factor.has_value());

  const CheckpointFolder model("qwen3-tiny");
  model.edit_json("config.json", [](json& config) {
    config.erase("rope_parameters");
    config["rope_theta"] = 5000.0;
    config["rope_scaling"] = {
        {"type", "yarn"}, {"factor", 2.0}, {"beta_fast", 16}, {"attention_factor", 1.5}};
  });
  const HfConfig older = HfConfig::read(model.path());
  CHECK(older.model.rope_base == 5000.0);
  CHECK(older.model.rope_scaling.kind == RopeScaling::Kind::yarn);
  CHECK(older.model.rope_scaling.original_context == static_cast<double>(older.model.context));
  CHECK(older.model.rope_scaling.beta_fast == 16.0);
  CHECK(older.model.rope_scaling.attention_factor == 1.5);
}

TEST_CASE("the L2A fields are read") {
  const HfConfig config = HfConfig::read(test::checkpoint("l2a-qwen3-widen"));
  REQUIRE(config.model.l2a.has_value());
  CHECK(config.model.l2a->mode == L2aMode::widen);
  CHECK(config.model.l2a->window == 12);
  CHECK(config.model.l2a->sinks == 3);
  CHECK(config.model.l2a->global_layers == std::vector<bool>{true, true, false, true});
  const HfConfig paper = HfConfig::read(test::checkpoint("l2a-qwen2-tiny"));
  CHECK(paper.model.l2a->mode == L2aMode::add);
  CHECK(paper.model.l2a->temperature == 0.1);
  CHECK(paper.model.l2a->threshold == 0.97);
}

TEST_CASE("the router's form is decided as the paper's code decides it") {
  const auto form = [](const json& fields) {
    const CheckpointFolder model("l2a-qwen3-tiny");
    model.edit_json("config.json", [&](json& config) { config.update(fields); });
    return HfConfig::read(model.path()).router_form;
  };
  CHECK(form({{"x", 1}}) == RouterForm::projection);
  CHECK(form({{"sigmoid_linear", false}}) == RouterForm::mean);
  CHECK(form({{"sig_input_type", "hidden_firstdim"}}) == RouterForm::first_dimension);
  CHECK(form({{"sig_input_type", "hidden_firstdim"}, {"sigmoid_linear", false}}) ==
        RouterForm::first_dimension);
}

TEST_CASE("a required field that is missing is named") {
  for (const char* field :
       {"architectures", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act",
        "sliding_window", "sigmoid_temp", "sigmoid_threshold"}) {
    const std::string message =
        failure("l2a-qwen3-tiny", [&](json& config) { config.erase(field); });
    CHECK(contains(message, concat("config.json: '", field, "': is missing")));
  }
}

TEST_CASE("values out of range are refused, naming the field") {
  CHECK(contains(failure_with("qwen3-tiny", "vocab_size", 0), "'vocab_size': is 0"));
  CHECK(contains(failure_with("qwen3-tiny", "vocab_size", -5), "'vocab_size'"));
  CHECK(contains(failure_with("qwen3-tiny", "vocab_size", 1ull << 63), "'vocab_size'"));
  CHECK(contains(failure_with("qwen3-tiny", "hidden_size", "64"), "an integer was expected"));
  CHECK(contains(failure_with("qwen3-tiny", "hidden_size", 64.5), "an integer was expected"));
  CHECK(contains(failure_with("qwen3-tiny", "num_hidden_layers", 1000000), "'num_hidden_layers'"));
  CHECK(contains(failure_with("qwen3-tiny", "num_key_value_heads", 3), "a divisor of the 4"));
  CHECK(contains(failure_with("qwen3-tiny", "head_dim", 31), "an even number"));
  CHECK(contains(failure_with("llama-tiny", "hidden_size", 65), "'head_dim'"));
  CHECK(contains(failure_with("qwen3-tiny", "rms_norm_eps", 0), "'rms_norm_eps'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "sigmoid_threshold", 1.0), "'sigmoid_threshold'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "sigmoid_threshold", 0.999999999999),
                 "'sigmoid_threshold'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "sigmoid_temp", 0), "'sigmoid_temp'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "sliding_window", 0), "'sliding_window'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "l2a_pruned_layers", {3}), "from 0 to 2"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "l2a_pruned_layers", {1, 1}), "layer 1 twice"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "l2a_mode", "both"), "'add' or 'widen'"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "l2a_sinks", 2), "has no sinks"));
  CHECK(contains(failure_with("qwen3-tiny", "eos_token_id", 512), "'eos_token_id'"));
}

TEST_CASE("what a fit left in a configuration is ascending, and for every layer") {
  const auto refused = [](const char* field, const json& value) {
    return contains(failure_with("l2a-qwen3-widen", field, value), concat("'", field, "'"));
  };
  for (const json& value :
       {json::array({1.0}), json::array({1.0, 0.5}), json::array({"a", "b"}), json(1.0)})
    CHECK(refused("l2a_skip_logits", value));
  for (const json& value :
       {json::array({1.0, 2.0, 3.0}), json::array({"a", "b", "c", "d"}), json(1.0)})
    CHECK(refused("l2a_need_scales", value));
}

TEST_CASE("what is not supported is refused and not guessed") {
  CHECK(contains(failure_with("qwen3-tiny", "architectures", {"GPT2LMHeadModel"}),
                 "'GPT2LMHeadModel'"));
  CHECK(contains(failure_with("qwen3-tiny", "hidden_act", "gelu"), "'gelu' is not supported"));
  CHECK(
      contains(failure_with("qwen3-tiny", "layer_types", {"sliding_attention"}), "'layer_types'"));
  CHECK(contains(failure_with("qwen3-tiny", "quantization_config", json::object()),
                 "'quantization_config.quant_method': is missing"));
  CHECK(contains(
      failure_with("qwen3-tiny", "rope_parameters", {{"rope_type", "llama3"}, {"factor", 8.0}}),
      "'rope_parameters.rope_type': 'llama3' is not supported"));
  CHECK(contains(failure_with("qwen3-tiny", "rope_parameters", {{"rope_type", "yarn"}}),
                 "factor': is missing"));
  CHECK(contains(failure_with("l2a-qwen3-tiny", "sig_input_type", "query"), "'sig_input_type'"));
}

TEST_CASE("a dense sliding window is refused where it would hide a key, and never ignored") {
  const auto read = [](const json& fields) {
    return failure("qwen3-tiny", [&](json& config) { config.update(fields); });
  };
  // Three layers, 32768 positions. Without the other two fields the classes' own values count.
  CHECK(read({{"use_sliding_window", true}}).empty());
  CHECK(contains(read({{"use_sliding_window", true}, {"max_window_layers", 2}}),
                 "layers 2 to 2 would see 4096 tokens of 32768"));
  CHECK(contains(
      read({{"use_sliding_window", true}, {"sliding_window", 32767}, {"max_window_layers", 0}}),
      "'use_sliding_window'"));
  CHECK(read({{"use_sliding_window", true}, {"sliding_window", 32768}, {"max_window_layers", 0}})
            .empty());
  CHECK(read({{"use_sliding_window", true}, {"sliding_window", 64}, {"max_window_layers", 3}})
            .empty());
  CHECK(read({{"use_sliding_window", false}, {"sliding_window", 64}, {"max_window_layers", 0}})
            .empty());
  CHECK(contains(read({{"use_sliding_window", true},
                       {"sliding_window", 64},
                       {"max_window_layers", 3},
                       {"layer_types", {"full_attention", "full_attention", "sliding_attention"}}}),
                 "'layer_types'"));
  CHECK(contains(read({{"use_sliding_window", "yes"}}), "true or false"));
}

TEST_CASE("generation_config.json says which token ends generation") {
  const CheckpointFolder model("qwen3-tiny");
  model.edit_json("config.json", [](json& config) { config["eos_token_id"] = 5; });
  CHECK(HfConfig::read(model.path()).eos_id == 5);
  model.folder().write("generation_config.json", R"({"eos_token_id": [511, 509]})");
  CHECK(HfConfig::read(model.path()).eos_id == 511);
}

}  // namespace
}  // namespace l2a
