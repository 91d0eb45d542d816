// A model's configuration and its weights, in the memory of a backend or of several.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "graph/backend.h"
#include "models/gguf.h"
#include "models/model_config.h"
#include "models/placement.h"
#include "models/tensor_source.h"

namespace l2a {

// A weight where it lives. Empty (no buffer) where the architecture has none.
struct StoredTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  std::shared_ptr<Buffer> buffer;

  explicit operator bool() const { return buffer != nullptr; }
  // As a leaf of a graph; an empty handle when this is empty.
  Tensor in(GraphBuilder& graph) const;
};

struct StoredAttention {
  StoredTensor q, k, v, output, q_bias, k_bias, v_bias, output_bias, q_norm, k_norm;
  AttentionWeights in(GraphBuilder& graph) const;
};

struct StoredLayer {
  StoredTensor attention_norm;
  StoredAttention attention;
  StoredTensor global_norm;          // "add", layers that are not pruned
  StoredAttention global_attention;  // likewise
  StoredTensor router, router_bias;  // layers that are not pruned
  StoredTensor feed_forward_norm, gate, up, down;
};

class Model {
 public:
  // Checks every tensor's name and shape, then brings the weights to the backend: in place where it computes on
  // the host, so that loading is as quick as mapping the file. Throws FileError or Error.
  static std::shared_ptr<const Model> load(std::shared_ptr<const GgufFile> file,
                                           std::shared_ptr<Backend> backend);
  // The same over several backends. `placement` says one for each layer, or none.
  static std::shared_ptr<const Model> load(std::shared_ptr<const GgufFile> file,
                                           Placement placement);
  static std::shared_ptr<const Model> load(const TensorSource& source, Placement placement);

  const ModelConfig& config() const { return config_; }
  const Placement& placement() const { return placement_; }
  std::uint64_t weight_bytes() const { return weight_bytes_; }  // of all tensors
  const StoredTensor& token_embedding() const { return token_embedding_; }
  const StoredTensor& output_norm() const { return output_norm_; }
  const StoredTensor& output() const { return output_; }  // the embedding itself when they are tied
  const StoredTensor& rope_frequencies() const { return rope_frequencies_; }
  float rope_table_factor() const { return rope_table_factor_; }
  const StoredLayer& layer(std::int64_t index) const {
    return layers_[static_cast<std::size_t>(index)];
  }

 private:
  friend class ModelLoader;
  Model() = default;

  // Before the tensors, so that it outlives their buffers.
  Placement placement_;
  ModelConfig config_;
  std::uint64_t weight_bytes_ = 0;
  StoredTensor token_embedding_, output_norm_, output_, rope_frequencies_;
  float rope_table_factor_ = 1;
  std::vector<StoredLayer> layers_;
};

}  // namespace l2a
