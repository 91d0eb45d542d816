// The lowered graph of both modes against the design's equations, written out in double for one tiny
// block: 3 features, two query heads on one key head of size 4.
#include "ops/l2a_attention.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

constexpr std::int64_t kWidth = 3, kQueryHeads = 2, kDim = 4, kTokens = 7;
constexpr double kEps = 1e-5, kBase = 100;

// Values between -1 and 1 that follow no pattern.
std::vector<float> scattered(std::int64_t count, double seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(
        static_cast<float>(std::sin(seed * 12.9898 + static_cast<double>(i) * 78.233)));
  }
  return values;
}

struct Block {
  std::vector<float> q = scattered(kQueryHeads * kDim * kWidth, 1), k = scattered(kDim * kWidth, 2),
                     v = scattered(kDim * kWidth, 3),
                     output = scattered(kWidth * kQueryHeads * kDim, 4),
                     q_bias = scattered(kQueryHeads * kDim, 5), k_bias = scattered(kDim, 6),
                     v_bias = scattered(kDim, 7), output_bias = scattered(kWidth, 8),
                     q_norm = scattered(kDim, 9), k_norm = scattered(kDim, 10);
  std::vector<float> x = scattered(kTokens * kWidth, 11), h = scattered(kTokens * kWidth, 12),
                     router = scattered(kWidth, 13);
  std::vector<float> router_bias = {0.05f};
};

// y = w x + b, row by row.
Values project(const std::vector<float>& w, const std::vector<float>& b, const float* x) {
  Values y(b.begin(), b.end());
  for (std::size_t n = 0; n < y.size(); ++n) {
    for (std::size_t i = 0; i < kWidth; ++i) y[n] += static_cast<double>(w[n * kWidth + i]) * x[i];
  }
  return y;
}

// The head norm, then the turn of d with d + D/2 by position * base^(-2d/D).
void norm_and_turn(double* head, const std::vector<float>& weight, std::int64_t position) {
  double square = 0;
  for (std::int64_t d = 0; d < kDim; ++d) square += head[d] * head[d] / kDim;
  for (std::size_t d = 0; d < kDim; ++d) head[d] *= weight[d] / std::sqrt(square + kEps);
  for (std::int64_t d = 0; d < kDim / 2; ++d) {
    const double angle =
        static_cast<double>(position) * std::pow(kBase, -2.0 * static_cast<double>(d) / kDim);
    const double a = head[d], b = head[d + kDim / 2];
    head[d] = a * std::cos(angle) - b * std::sin(angle);
    head[d + kDim / 2] = b * std::cos(angle) + a * std::sin(angle);
  }
}

struct Expected {
  Values x;
  std::vector<std::int64_t> routed;
};

// sees(t, j, routed): whether token t attends to position j <= t.
template <class Sees>
Expected straight_line(const Block& block, double cut, bool add_mode, Sees sees) {
  std::vector<Values> keys, values;
  Expected expected;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const float* h = &block.h[static_cast<std::size_t>(t * kWidth)];
    keys.push_back(project(block.k, block.k_bias, h));
    norm_and_turn(keys.back().data(), block.k_norm, t);
    values.push_back(project(block.v, block.v_bias, h));

    double logit = add_mode ? 0.0 : block.router_bias[0];
    for (std::size_t i = 0; i < kWidth; ++i) logit += static_cast<double>(block.router[i]) * h[i];
    // Float rounding must not be able to decide.
    REQUIRE(std::fabs(logit - cut) > 1e-3);
    const bool routed = logit >= cut;
    if (routed) expected.routed.push_back(t);

    Values mixed(kQueryHeads * kDim, 0.0);
    Values query = project(block.q, block.q_bias, h);
    for (std::int64_t head = 0; head < kQueryHeads; ++head) {
      double* q = &query[static_cast<std::size_t>(head * kDim)];
      norm_and_turn(q, block.q_norm, t);
      Values weights(static_cast<std::size_t>(t) + 1, 0.0);
      double sum = 0;
      for (std::size_t j = 0; j < weights.size(); ++j) {
        if (!sees(t, static_cast<std::int64_t>(j), routed)) continue;
        double score = 0;
        for (std::size_t d = 0; d < kDim; ++d) score += q[d] * keys[j][d];
        sum += weights[j] = std::exp(score / std::sqrt(double{kDim}));
      }
      for (std::size_t j = 0; j < weights.size(); ++j) {
        for (std::size_t d = 0; d < kDim; ++d) {
          mixed[static_cast<std::size_t>(head * kDim) + d] += weights[j] / sum * values[j][d];
        }
      }
    }
    for (std::size_t e = 0; e < kWidth; ++e) {
      double x = block.x[static_cast<std::size_t>(t * kWidth) + e];
      if (routed || !add_mode) {
        x += block.output_bias[e];
        for (std::size_t i = 0; i < mixed.size(); ++i)
          x += block.output[e * mixed.size() + i] * mixed[i];
      }
      expected.x.push_back(x);
    }
  }
  return expected;
}

Expected add_block(const Block& block, double cut) {
  return straight_line(block, cut, true, [](auto, auto, bool) { return true; });
}

Expected widen_block(const Block& block, double cut, std::int64_t window, std::int64_t sinks) {
  return straight_line(block, cut, false, [=](std::int64_t t, std::int64_t j, bool routed) {
    return routed || j > t - window || j < sinks;
  });
}

// The lowered graph over tokens [begin, end), on the caches of the tokens before them.
struct Lowered {
  Values x, rows;
};

class LoweredBlock {
 public:
  LoweredBlock(const Block& block, std::shared_ptr<Backend> backend)
      : block_(block), backend_(std::move(backend)) {
    const std::size_t bytes = kTokens * kDim * sizeof(float);
    keys_ = backend_->allocate(bytes);
    values_ = backend_->allocate(bytes);
  }

  Lowered run(std::int64_t begin, std::int64_t end, const L2aOptions& options) {
    OpRun run(backend_);
    const std::int64_t count = end - begin;
    const auto part = [&](const std::vector<float>& all) {
      return run.floats({count, kWidth},
                        {all.begin() + begin * kWidth, all.begin() + end * kWidth});
    };
    const auto vector = [&](const std::vector<float>& values) {
      return run.floats({static_cast<std::int64_t>(values.size())}, values);
    };
    std::vector<std::int32_t> positions;
    for (std::int64_t t = begin; t < end; ++t) positions.push_back(static_cast<std::int32_t>(t));
    TokenInputs tokens;
    tokens.positions = run.indices(positions);
    tokens.rope_table = rope_table(run.graph, tokens.positions,
                                   vector(rope_frequencies(kDim, kBase, {}).inverse), 1);
    AttentionBlock attention;
    attention.weights = {run.floats({kQueryHeads * kDim, kWidth}, block_.q),
                         run.floats({kDim, kWidth}, block_.k),
                         run.floats({kDim, kWidth}, block_.v),
                         run.floats({kWidth, kQueryHeads * kDim}, block_.output),
                         vector(block_.q_bias),
                         vector(block_.k_bias),
                         vector(block_.v_bias),
                         vector(block_.output_bias),
                         vector(block_.q_norm),
                         vector(block_.k_norm)};
    attention.heads = {kQueryHeads, 1, kDim, static_cast<float>(kEps), RopePairing::half};
    attention.cache.keys = run.graph.state("keys", Dtype::f32, {kTokens, 1, kDim}, keys_);
    attention.cache.values = run.graph.state("values", Dtype::f32, {kTokens, 1, kDim}, values_);
    const bool biased = options.mode == L2aMode::widen;
    const L2aRouter router{run.floats({1, kWidth}, block_.router),
                           biased ? vector(block_.router_bias) : Tensor{}};
    const L2aResult result = l2a_attention(run.graph, part(block_.x), part(block_.h), attention,
                                           router, tokens, options);
    auto outputs = run.results({result.x, Tensor{result.rows.id}});
    return {outputs[0], outputs[1]};
  }

 private:
  const Block& block_;
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Buffer> keys_, values_;
};

// In one chunk, in chunks of 4 and 3, and token by token.
void check_lowered(const Block& block, const L2aOptions& options, const Expected& expected) {
  for (const auto& backend : {make_reference_backend(), make_cpu_backend({2, std::nullopt})}) {
    for (const std::int64_t chunk : {kTokens, std::int64_t{4}, std::int64_t{1}}) {
      CAPTURE(backend->name());
      CAPTURE(chunk);
      LoweredBlock lowered(block, backend);
      Values x, routed;
      for (std::int64_t begin = 0; begin < kTokens; begin += chunk) {
        const Lowered part = lowered.run(begin, std::min(begin + chunk, kTokens), options);
        x.insert(x.end(), part.x.begin(), part.x.end());
        for (std::size_t i = 1; i < part.rows.size(); ++i)
          routed.push_back(part.rows[i] + static_cast<double>(begin));
      }
      check_values(routed, {expected.routed.begin(), expected.routed.end()});
      check_values(x, expected.x, 3e-6);  // sums of a few dozen products and an exp
    }
  }
}

// Cuts by which the router sends some tokens, every one, and none.
constexpr float kCuts[] = {0.0f, -10.0f, 10.0f};

TEST_CASE("l2a_attention in mode add adds the attention over all keys to routed tokens only") {
  const Block block;
  for (const float cut : kCuts) {
    CAPTURE(cut);
    const Expected expected = add_block(block, cut);
    if (cut == 0) REQUIRE((expected.routed.size() > 1 && expected.routed.size() < kTokens));
    check_lowered(block, {L2aMode::add, 0, 0, cut}, expected);
  }
}

TEST_CASE("l2a_attention in mode widen gives every token its window and sinks, routed ones all") {
  const Block block;
  for (const float cut : kCuts) {
    for (const std::int64_t sinks : {0, 2}) {
      CAPTURE(cut);
      CAPTURE(sinks);
      check_lowered(block, {L2aMode::widen, 2, sinks, cut}, widen_block(block, cut, 2, sinks));
    }
  }
}

TEST_CASE("l2a_attention refuses a ring, and widening without a window") {
  const auto message = [](const L2aOptions& options, bool ring) {
    OpRun run(make_reference_backend());
    AttentionBlock block;
    block.cache.ring = ring;
    const Tensor x = run.leaf({2, kWidth});
    return message_of<GraphError>([&] {
      l2a_attention(run.graph, x, x, block, {run.leaf({1, kWidth}), {}}, {}, options);
    });
  };
  CHECK(contains(message({}, true), "l2a_attention: routed tokens read every key"));
  CHECK(contains(message({L2aMode::widen, 0, 0, 0}, false),
                 "l2a_attention: widening needs a window"));
}

}  // namespace
}  // namespace l2a::test
