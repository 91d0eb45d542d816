#include "models/model.h"

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

class ModelLoader {
 public:
  ModelLoader(std::shared_ptr<const GgufFile> file, std::shared_ptr<Backend> backend)
      : file_(std::move(file)), model_(new Model) {
    model_->backend_ = std::move(backend);
    model_->config_ = ModelConfig::from_gguf(*file_);
  }

  std::shared_ptr<const Model> load() {
    const ModelConfig& config = model_->config_;
    model_->token_embedding_ = matrix("token_embd.weight", config.vocabulary, config.hidden);
    model_->output_norm_ = vector("output_norm.weight", config.hidden);
    model_->output_ = file_->find_tensor("output.weight") != nullptr
                          ? matrix("output.weight", config.vocabulary, config.hidden)
                          : model_->token_embedding_;
    for (std::int64_t i = 0; i < config.layers; ++i) model_->layers_.push_back(load_layer(i));
    load_rope();  // last: the head size it allocates by has then been met by tensors
    return std::move(model_);
  }

 private:
  StoredTensor import(const GgufTensor& tensor) {
    // Loads of whole elements need their alignment, which a file with a small `general.alignment` may not give.
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.data.data());
    const bool aligned =
        dtype_info(tensor.dtype).quantized ||
        address % static_cast<std::uintptr_t>(dtype_info(tensor.dtype).block_bytes) == 0;
    std::shared_ptr<Buffer> buffer;
    if (aligned) {
      buffer = model_->backend_->import(tensor.data, file_);
    } else {
      buffer = model_->backend_->allocate(tensor.data.size());
      buffer->upload(0, tensor.data);
    }
    return {tensor.name, tensor.dtype, Shape(tensor.shape), std::move(buffer)};
  }

  StoredTensor upload(std::string name, const Shape& shape, std::span<const float> values) {
    auto buffer = model_->backend_->allocate(values.size_bytes());
    buffer->upload(0, std::as_bytes(values));
    return {std::move(name), Dtype::f32, shape, std::move(buffer)};
  }

  // The tensor of that name, shape and a dtype that has a floating-point meaning.
  const GgufTensor& weight(const std::string& name, std::span<const std::int64_t> shape) const {
    const GgufTensor& tensor = file_->get_tensor(name, shape);
    if (tensor.dtype == Dtype::i32) {
      throw FileError(concat(file_->path().string(), ": tensor '", name,
                             "' is i32; a weight type was expected"));
    }
    return tensor;
  }

  StoredTensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return import(weight(name, std::vector<std::int64_t>{rows, columns}));
  }

  // Norms, biases and the router: always f32 in memory, whatever the file holds.
  StoredTensor floats(const std::string& name, const Shape& shape) {
    const GgufTensor& tensor = weight(name, shape.extents());
    if (tensor.dtype == Dtype::f32) return import(tensor);
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    dequantize_row(tensor.dtype, tensor.data, values);
    return upload(name, shape, values);
  }

  StoredTensor vector(const std::string& name, std::int64_t length) {
    return floats(name, {length});
  }

  StoredTensor optional_vector(const std::string& name, std::int64_t length) {
    return file_->find_tensor(name) != nullptr ? vector(name, length) : StoredTensor{};
  }

  void load_rope() {
    const ModelConfig& config = model_->config_;
    RopeFrequencies rope = rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling);
    const std::int64_t pairs = config.head_dim / 2;
    // Llama 3's scaling comes as one divisor for each frequency.
    if (file_->find_tensor("rope_freqs.weight") != nullptr) {
      const GgufTensor& tensor = weight("rope_freqs.weight", std::vector<std::int64_t>{pairs});
      std::vector<float> divisors(static_cast<std::size_t>(pairs));
      dequantize_row(tensor.dtype, tensor.data, divisors);
      for (std::size_t i = 0; i < divisors.size(); ++i) {
        if (!(divisors[i] > 0) || !std::isfinite(divisors[i])) {
          throw FileError(concat(file_->path().string(), ": tensor 'rope_freqs.weight' holds ",
                                 divisors[i], "; positive numbers were expected"));
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

  std::shared_ptr<const GgufFile> file_;
  std::shared_ptr<Model> model_;
};

std::shared_ptr<const Model> Model::load(std::shared_ptr<const GgufFile> file,
                                         std::shared_ptr<Backend> backend) {
  return ModelLoader(std::move(file), std::move(backend)).load();
}

}  // namespace l2a
