// What a model is: its sizes and settings, read from a GGUF file's metadata and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/l2a_attention.h"
#include "ops/rope.h"

namespace l2a {

class GgufFile;

// What the dense decoders differ in.
enum class Family : std::uint8_t {
  qwen2,  // biases on q, k and v
  qwen3,  // norms on the heads of q and k
  llama,  // neither; interleaved RoPE (its GGUF files permute Q and K)
};

struct L2aConfig {
  L2aMode mode = L2aMode::add;
  std::int64_t window = 0;          // W
  std::int64_t sinks = 0;           // S, widen only
  double temperature = 1;           // tau
  double threshold = 0.5;           // theta
  std::vector<bool> global_layers;  // [L]; false: the layer is pruned

  // Of fitted routers, n >= 2, ascending: the logit that the share i / (n - 1) of tokens does not reach, over all layers
  // that are not pruned. Else empty.
  std::vector<double> skip_logits;
  // Of fitted routers, by layer: the logarithm of what the need of a long read in it was multiplied with, so that needs of
  // all layers count the same. Else empty.
  std::vector<double> need_scales;

  std::int64_t routed_layers() const;  // layers that are not pruned
  // The cut of all routers at which this share of tokens is not routed, about: 0 routes all, 1 none. Throws Error where
  // skip_logits is empty or the share is none.
  float cut_for_skip(double skip) const;
};

struct ModelConfig {
  std::string architecture;  // as in the file: "qwen3", "l2a-qwen3", ...
  std::string name;          // may be empty
  Family family = Family::qwen3;
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;        // E
  std::int64_t layers = 0;        // L
  std::int64_t feed_forward = 0;  // F
  std::int64_t heads = 0;         // Hq
  std::int64_t kv_heads = 0;      // Hk
  std::int64_t head_dim = 0;      // D; Hq * D need not be E
  std::int64_t context = 0;       // trained, in tokens
  float norm_eps = 0;
  double rope_base = 10000;
  RopeScaling rope_scaling;
  std::optional<L2aConfig> l2a;

  AttentionHeads attention_heads() const;
  // True when the layer has a router and, in "add", a global branch.
  bool routes(std::int64_t layer) const;

  // Throws FileError naming the file, the key and what was expected. Settings that would change what the model
  // computes and are not known here are refused, not ignored.
  static ModelConfig from_gguf(const GgufFile& file);
};

}  // namespace l2a
