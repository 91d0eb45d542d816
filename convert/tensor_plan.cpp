#include "convert/tensor_plan.h"

#include "graph/error.h"

namespace l2a {
namespace {

class Planner {
 public:
  explicit Planner(const HfConfig& config) : config_(config), model_(config.model) {}

  std::vector<PlannedTensor> plan() {
    add("model.embed_tokens.weight", "token_embd.weight", {model_.vocabulary, model_.hidden});
    for (std::int64_t layer = 0; layer < model_.layers; ++layer) {
      add_layer(layer);
    }
    add("model.norm.weight", "output_norm.weight", {model_.hidden});
    if (!config_.tied_embeddings) {
      add("lm_head.weight", "output.weight", {model_.vocabulary, model_.hidden});
    }
    return std::move(tensors_);
  }

 private:
  PlannedTensor& add(std::string source, std::string target, std::vector<std::int64_t> shape) {
    return tensors_.emplace_back(
        PlannedTensor{std::move(source), std::move(target), std::move(shape)});
  }

  void add_layer(std::int64_t layer) {
    const std::string from = concat("model.layers.", layer, ".");
    const std::string to = concat("blk.", layer, ".");
    const std::int64_t hidden = model_.hidden;
    const std::int64_t inner = model_.feed_forward;
    add(from + "input_layernorm.weight", to + "attn_norm.weight", {hidden});
    add_attention(from, to, "");
    if (model_.routes(layer)) {
      if (model_.l2a->mode == L2aMode::add) {
        add(from + "input_layernorm_global.weight", to + "attn_norm_global.weight", {hidden});
        add_attention(from, to, "_global");
      }
      add_router(from, to);
    }
    add(from + "post_attention_layernorm.weight", to + "ffn_norm.weight", {hidden});
    add(from + "mlp.gate_proj.weight", to + "ffn_gate.weight", {inner, hidden});
    add(from + "mlp.up_proj.weight", to + "ffn_up.weight", {inner, hidden});
    add(from + "mlp.down_proj.weight", to + "ffn_down.weight", {hidden, inner});
  }

  // `branch` is "" for the ordinary attention and "_global" for the paper's second one.
  void add_attention(const std::string& from, const std::string& to, const std::string& branch) {
    const bool interleaved = model_.family == Family::llama;
    const auto projection = [&](const char* letter, std::int64_t heads, bool rotated) {
      const std::string source = concat(from, "self_attn.", letter, "_proj", branch);
      const std::string target = concat(to, "attn_", letter, branch);
      const std::int64_t rows = heads * model_.head_dim;
      const std::int64_t reordered = interleaved && rotated ? heads : 0;
      add(source + ".weight", target + ".weight", {rows, model_.hidden}).interleaved_heads =
          reordered;
      if (config_.attention_bias) {
        add(source + ".bias", target + ".bias", {rows}).interleaved_heads = reordered;
      }
    };
    projection("q", model_.heads, true);
    projection("k", model_.kv_heads, true);
    projection("v", model_.kv_heads, false);
    const std::string output = concat(from, "self_attn.o_proj", branch);
    add(output + ".weight", concat(to, "attn_output", branch, ".weight"),
        {model_.hidden, model_.heads * model_.head_dim});
    if (config_.output_bias) {
      add(output + ".bias", concat(to, "attn_output", branch, ".bias"), {model_.hidden});
    }
    if (model_.family == Family::qwen3) {
      for (const char* letter : {"q", "k"}) {
        add(concat(from, "self_attn.", letter, "_norm", branch, ".weight"),
            concat(to, "attn_", letter, "_norm", branch, ".weight"), {model_.head_dim});
      }
    }
  }

  void add_router(const std::string& from, const std::string& to) {
    // Routing is a discrete decision: its weights keep every bit (design: the router is float32
    // always).
    PlannedTensor& router = add(from + "self_attn.sigmoid_linear.weight", to + "attn_router.weight",
                                {1, model_.hidden});
    router.always_f32 = true;
    if (config_.router_form != RouterForm::projection) {
      router.constant = router_row();
      return;
    }
    if (model_.l2a->mode == L2aMode::widen) {
      PlannedTensor& bias =
          add(from + "self_attn.sigmoid_linear.bias", to + "attn_router.bias", {1});
      bias.always_f32 = true;
      bias.optional = true;
    }
  }

  // The weights that make a projection of a router that is none.
  std::vector<float> router_row() const {
    const auto size = static_cast<std::size_t>(model_.hidden);
    if (config_.router_form == RouterForm::mean) {
      return std::vector<float>(size, 1.0f / static_cast<float>(size));
    }
    std::vector<float> row(size, 0.0f);
    row.front() = 1.0f;
    return row;
  }

  const HfConfig& config_;
  const ModelConfig& model_;
  std::vector<PlannedTensor> tensors_;
};

}  // namespace

std::int64_t rotated_half_row(const PlannedTensor& planned, std::int64_t row) {
  const std::int64_t head_dim = planned.shape[0] / planned.interleaved_heads;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

std::int64_t interleaved_row(const PlannedTensor& planned, std::int64_t row) {
  const std::int64_t half = planned.shape[0] / planned.interleaved_heads / 2;
  const std::int64_t in_head = row % (2 * half);
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

std::vector<PlannedTensor> plan_tensors(const HfConfig& config) { return Planner(config).plan(); }

}  // namespace l2a
