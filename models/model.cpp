#include "models/model.h"

#include <array>
#include <cmath>

#include "graph/error.h"
#include "ops/dequantize.h"

namespace l2a {

Tensor StoredTensor::in(GraphBuilder& graph) const {
  return buffer ? graph.weight(name, dtype, shape, buffer) : Tensor{};
}

AttentionWeights StoredAttention::in(GraphBuilder& graph) const {
  return {q.in(graph),      k.in(graph),      v.in(graph),      output.in(graph),
          q_bias.in(graph), k_bias.in(graph), v_bias.in(graph), output_bias.in(graph),
          q_norm.in(graph), k_norm.in(graph)};
}

namespace {

class GgufSource final : public TensorSource {
 public:
  explicit GgufSource(std::shared_ptr<const GgufFile> file) : file_(std::move(file)) {}

  std::string name() const override { return file_->path().string(); }
  ModelConfig config() const override { return ModelConfig::from_gguf(*file_); }
  bool has(const std::string& tensor) const override {
    return file_->find_tensor(tensor) != nullptr;
  }
  TensorData get(const std::string& tensor, std::span<const std::int64_t> shape) const override {
    const GgufTensor& found = file_->get_tensor(tensor, shape);
    return {found.dtype, found.data, file_};
  }

 private:
  std::shared_ptr<const GgufFile> file_;
};

}  // namespace

class ModelLoader {
 public:
  ModelLoader(const TensorSource& source, Placement placement)
      : source_(source), model_(new Model) {
    model_->placement_ = std::move(placement);
    model_->config_ = source.config();
    const auto placed = static_cast<std::int64_t>(model_->placement_.layers.size());
    if (placed != 0 && placed != model_->config_.layers) {
      throw Error(concat(source.name(), ": has ", model_->config_.layers, " layers, and ", placed,
                         " were placed"));
    }
  }

  std::shared_ptr<const Model> load() {
    const ModelConfig& config = model_->config_;
    backend_ = model_->placement_.outer.get();
    model_->token_embedding_ = matrix("token_embd.weight", config.vocabulary, config.hidden);
    model_->output_norm_ = vector("output_norm.weight", config.hidden);
    model_->output_ = source_.has("output.weight")
                          ? matrix("output.weight", config.vocabulary, config.hidden)
                          : model_->token_embedding_;
    for (std::int64_t i = 0; i < config.layers; ++i) model_->layers_.push_back(load_layer(i));
    backend_ = model_->placement_.outer.get();
    load_rope();  // last: the head size it allocates by has then been met by tensors
    return std::move(model_);
  }

 private:
  StoredTensor import(const std::string& name, const TensorData& tensor, const Shape& shape) {
    // Loads of whole elements need their alignment, which a file with a small `general.alignment` may not give.
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.data.data());
    const bool aligned =
        dtype_info(tensor.dtype).quantized ||
        address % static_cast<std::uintptr_t>(dtype_info(tensor.dtype).block_bytes) == 0;
    model_->weight_bytes_ += tensor.data.size();
    std::shared_ptr<Buffer> buffer;
    if (aligned) {
      buffer = backend_->import(tensor.data, tensor.owner);
    } else {
      buffer = backend_->allocate(tensor.data.size());
      buffer->upload(0, tensor.data);
    }
    return {name, tensor.dtype, shape, std::move(buffer)};
  }

  StoredTensor upload(std::string name, const Shape& shape, std::span<const float> values) {
    model_->weight_bytes_ += values.size_bytes();
    auto buffer = backend_->allocate(values.size_bytes());
    buffer->upload(0, std::as_bytes(values));
    return {std::move(name), Dtype::f32, shape, std::move(buffer)};
  }

  // The tensor of that name, shape and a dtype that has a floating-point meaning.
  TensorData weight(const std::string& name, std::span<const std::int64_t> shape) const {
    TensorData tensor = source_.get(name, shape);
    if (tensor.dtype == Dtype::i32) {
      throw FileError(
          concat(source_.name(), ": tensor '", name, "' is i32; a weight type was expected"));
    }
    return tensor;
  }

  StoredTensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    const std::array extents = {rows, columns};
    const TensorData tensor = weight(name, extents);  // extents that no tensor has end here
    return import(name, tensor, Shape(extents));
  }

  // Norms, biases and the router: always f32 in memory, whatever the file holds.
  StoredTensor floats(const std::string& name, const Shape& shape) {
    const TensorData tensor = weight(name, shape.extents());
    if (tensor.dtype == Dtype::f32) return import(name, tensor, shape);
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    dequantize_row(tensor.dtype, tensor.data, values);
    return upload(name, shape, values);
  }

  StoredTensor vector(const std::string& name, std::int64_t length) {
    return floats(name, {length});
  }

  StoredTensor optional_vector(const std::string& name, std::int64_t length) {
    return source_.has(name) ? vector(name, length) : StoredTensor{};
  }

  void load_rope() {
    const ModelConfig& config = model_->config_;
    RopeFrequencies rope = rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling);
    const std::int64_t pairs = config.head_dim / 2;
    // Llama 3's scaling comes as one divisor for each frequency.
    if (source_.has("rope_freqs.weight")) {
      const TensorData tensor = weight("rope_freqs.weight", Shape{pairs}.extents());
      std::vector<float> divisors(static_cast<std::size_t>(pairs));
      dequantize_row(tensor.dtype, tensor.data, divisors);
      for (std::size_t i = 0; i < divisors.size(); ++i) {
        if (!(divisors[i] > 0) || !std::isfinite(divisors[i])) {
          throw FileError(concat(source_.name(), ": tensor 'rope_freqs.weight' holds ", divisors[i],
                                 "; positive numbers were expected"));
        }
        rope.inverse[i] /= divisors[i];
      }
    }
    model_->rope_frequencies_ = upload("rope_frequencies", {pairs}, rope.inverse);
    model_->rope_table_factor_ = rope.table_factor;
  }

  StoredAttention load_attention(const std::string& block, const std::string& suffix) {
    const ModelConfig& config = model_->config_;
    const std::int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
    auto name = [&](std::string_view part, std::string_view kind) {
      return concat(block, "attn_", part, suffix, ".", kind);
    };
    StoredAttention stored;
    stored.q = matrix(name("q", "weight"), q, config.hidden);
    stored.k = matrix(name("k", "weight"), kv, config.hidden);
    stored.v = matrix(name("v", "weight"), kv, config.hidden);
    stored.output = matrix(name("output", "weight"), config.hidden, q);
    const bool bias = config.family == Family::qwen2;
    stored.q_bias = bias ? vector(name("q", "bias"), q) : optional_vector(name("q", "bias"), q);
    stored.k_bias = bias ? vector(name("k", "bias"), kv) : optional_vector(name("k", "bias"), kv);
    stored.v_bias = bias ? vector(name("v", "bias"), kv) : optional_vector(name("v", "bias"), kv);
    stored.output_bias = optional_vector(name("output", "bias"), config.hidden);
    if (config.family == Family::qwen3) {
      stored.q_norm = vector(name("q_norm", "weight"), config.head_dim);
      stored.k_norm = vector(name("k_norm", "weight"), config.head_dim);
    }
    return stored;
  }

  StoredLayer load_layer(std::int64_t index) {
    const ModelConfig& config = model_->config_;
    const std::string block = concat("blk.", index, ".");
    backend_ = &model_->placement_.layer(index);
    StoredLayer layer;
    layer.attention_norm = vector(block + "attn_norm.weight", config.hidden);
    layer.attention = load_attention(block, "");
    if (config.routes(index)) {
      layer.router = floats(block + "attn_router.weight", {1, config.hidden});
      if (config.l2a->mode == L2aMode::add) {
        layer.global_norm = vector(block + "attn_norm_global.weight", config.hidden);
        layer.global_attention = load_attention(block, "_global");
      } else {
        layer.router_bias = optional_vector(block + "attn_router.bias", 1);
      }
    }
    layer.feed_forward_norm = vector(block + "ffn_norm.weight", config.hidden);
    layer.gate = matrix(block + "ffn_gate.weight", config.feed_forward, config.hidden);
    layer.up = matrix(block + "ffn_up.weight", config.feed_forward, config.hidden);
    layer.down = matrix(block + "ffn_down.weight", config.hidden, config.feed_forward);
    return layer;
  }

  const TensorSource& source_;
  std::shared_ptr<Model> model_;
  Backend* backend_ = nullptr;  // that the tensors go to
};

std::shared_ptr<const Model> Model::load(const TensorSource& source, Placement placement) {
  return ModelLoader(source, std::move(placement)).load();
}

std::shared_ptr<const Model> Model::load(std::shared_ptr<const GgufFile> file,
                                         Placement placement) {
  return load(GgufSource(std::move(file)), std::move(placement));
}

std::shared_ptr<const Model> Model::load(std::shared_ptr<const GgufFile> file,
                                         std::shared_ptr<Backend> backend) {
  return load(std::move(file), Placement{std::move(backend), {}});
}

}  // namespace l2a
