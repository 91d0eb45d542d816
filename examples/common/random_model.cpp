#include "examples/common/random_model.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>

#include "graph/error.h"
#include "graph/half.h"

namespace l2a {
namespace {

struct ModelShape {
  const char* name;
  std::int64_t layers, hidden, feed_forward, heads, kv_heads, head_dim, vocabulary;
};
constexpr std::array<ModelShape, 4> kShapes = {{
    {"tiny", 4, 256, 768, 4, 2, 64, 4096},
    {"0.6b", 28, 1024, 3072, 16, 8, 128, 151936},
    {"1.7b", 28, 2048, 6144, 16, 8, 128, 151936},
    {"8b", 36, 4096, 12288, 32, 8, 128, 151936},
}};

ModelConfig config_of(const RandomModelOptions& options) {
  const auto shape = std::find_if(kShapes.begin(), kShapes.end(),
                                  [&](const ModelShape& s) { return options.shape == s.name; });
  if (shape == kShapes.end()) throw Error(concat("there is no shape ", options.shape));
  ModelConfig config;
  config.architecture = options.l2a ? "l2a-qwen3" : "qwen3";
  config.vocabulary = shape->vocabulary;
  config.hidden = shape->hidden;
  config.layers = shape->layers;
  config.feed_forward = shape->feed_forward;
  config.heads = shape->heads;
  config.kv_heads = shape->kv_heads;
  config.head_dim = shape->head_dim;
  config.context = 131072;
  config.norm_eps = 1e-6f;
  config.rope_base = 1e6;
  if (options.l2a) {
    L2aConfig l2a;
    l2a.mode = *options.l2a;
    l2a.window = options.window;
    l2a.sinks = options.sinks;
    l2a.temperature = 0.1;
    l2a.global_layers.assign(static_cast<std::size_t>(shape->layers), true);
    config.l2a = std::move(l2a);
  }
  return config;
}

// The halves of a block that scale it, by their offsets; the rest of it are random bits.
struct BlockScale {
  std::size_t offset;
  float value;
};
std::vector<BlockScale> block_scales(Dtype dtype) {
  constexpr float kWeight = 0.02f;  // about what trained weights deviate from zero
  // Uniform n-bit integers deviate by 2^n / sqrt(12); minimums are at the middle of their range.
  constexpr float kFour = kWeight / 4.6f, kFive = kWeight / 9.2f, kEight = kWeight / 74;
  constexpr float kSubScale = 36;  // of 6-bit scales, their root mean square
  switch (dtype) {
    case Dtype::q4_0:
      return {{0, kFour}};
    case Dtype::q4_1:
      return {{0, kFour}, {2, -7.5f * kFour}};
    case Dtype::q5_0:
      return {{0, kFive}};
    case Dtype::q5_1:
      return {{0, kFive}, {2, -15.5f * kFive}};
    case Dtype::q8_0:
      return {{0, kEight}};
    case Dtype::q4_k:
      return {{0, kFour / kSubScale}, {2, 7.5f * kFour / kSubScale}};
    case Dtype::q5_k:
      return {{0, kFive / kSubScale}, {2, 15.5f * kFive / kSubScale}};
    case Dtype::q6_k:
      return {{208, kWeight / (18.5f * 74)}};
    default:
      return {};
  }
}

// Random bits that stay as they are, and others that are set: of floats sign and fraction, which gives numbers
// from 1/64 to 1/32 of either sign.
struct BitMask {
  std::uint64_t random = ~std::uint64_t{0}, set = 0;
};
BitMask float_bits(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return {0x807fffff'807fffffU, 0x3c800000'3c800000U};
    case Dtype::f16:
      return {0x83ff83ff'83ff83ffU, 0x24002400'24002400U};
    case Dtype::bf16:
      return {0x807f807f'807f807fU, 0x3c803c80'3c803c80U};
    default:
      return {};
  }
}

void fill_random(std::span<std::byte> bytes, std::uint64_t seed, const BitMask& mask) {
  std::uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15U;  // xorshift64, which zero would stop
  for (std::size_t at = 0; at < bytes.size(); at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = (state & mask.random) | mask.set;
    std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
  }
}

std::shared_ptr<std::byte> allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (memory == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), std::free};
}

}  // namespace

std::vector<std::string> random_model_shapes() {
  std::vector<std::string> names;
  names.reserve(kShapes.size());
  for (const ModelShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

RandomModel::RandomModel(const RandomModelOptions& options)
    : options_(options), config_(config_of(options)) {}

std::string RandomModel::name() const {
  return concat("random ", options_.shape, " ", options_.recipe->name);
}

bool RandomModel::has(const std::string& tensor) const {
  return tensor.ends_with(".weight") && tensor != "output.weight" && tensor != "rope_freqs.weight";
}

TensorData RandomModel::get(const std::string& tensor, std::span<const std::int64_t> shape) const {
  const Dtype dtype =
      recipe_dtype(*options_.recipe, recipe_model(config_, true, false), tensor, shape);
  const auto bytes = dtype_bytes(dtype, Shape(shape).elements());
  const std::shared_ptr<std::byte> memory = allocate(bytes);
  if (shape.size() == 1) {
    std::fill_n(reinterpret_cast<float*>(memory.get()), shape[0], 1.0f);
    return {dtype, {memory.get(), bytes}, memory};
  }
  const std::uint64_t seed = std::hash<std::string>{}(tensor);
  const BitMask mask = float_bits(dtype);
  const std::vector<BlockScale> scales = block_scales(dtype);
  const auto block = static_cast<std::size_t>(dtype_info(dtype).block_bytes);
  const auto blocks = static_cast<std::int64_t>(bytes / block);
  constexpr std::int64_t kGrain = 1 << 14;  // blocks
  pool_.parallel_for((blocks + kGrain - 1) / kGrain, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = piece * kGrain, last = std::min(first + kGrain, blocks);
      std::byte* start = memory.get() + static_cast<std::size_t>(first) * block;
      fill_random({start, static_cast<std::size_t>(last - first) * block},
                  seed + static_cast<std::uint64_t>(piece), mask);
      for (const BlockScale& scale : scales) {
        const std::uint16_t half = float_to_f16(scale.value);
        for (std::int64_t i = 0; i < last - first; ++i)
          std::memcpy(start + static_cast<std::size_t>(i) * block + scale.offset, &half,
                      sizeof half);
      }
    }
  });
  return {dtype, {memory.get(), bytes}, memory};
}

}  // namespace l2a
