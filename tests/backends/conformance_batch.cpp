#include "tests/backends/conformance_batch.h"

#include <optional>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/batch_attention.h"
#include "ops/concat_rows.h"
#include "ops/kv_append.h"
#include "ops/rms_norm.h"

namespace l2a::test {
namespace {

using Cases = std::vector<ConformanceCase>;

void add_concat(Cases& cases) {
  // Parts of one row, as many as there are sequences, here views, and one of several.
  for (const std::int64_t parts : {2, 8, 129}) {
    for (const std::int64_t width : {19, 256, 4096}) {
      cases.push_back({concat("concat_rows ", parts, "x", width), [=](CaseBuilder& c) {
                         const Tensor x = c.input({parts, width});
                         std::vector<Tensor> rows;
                         for (std::int64_t i = parts; i-- > 0;)
                           rows.push_back(c.graph.slice(x, i, i + 1));
                         rows.push_back(c.input({3, width}));
                         c.compare(concat_rows(c.graph, rows), 0);
                       }});
    }
  }
}

void add_places(Cases& cases) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
    const std::int64_t dim = dtype == Dtype::q8_0 ? 32 : 7;
    cases.push_back(
        {concat("kv_append ", dtype, " to places that do not follow each other"),
         [=](CaseBuilder& c) {
           const Tensor cache = c.state(dtype, {50, 2, dim});
           kv_append(c.graph, cache, c.input({4, 2, dim}), c.indices({7, 49, 0, 23}), 0);
         }});
  }
}

// A token of each of some sequences, of different lengths, through a norm and an attention block as models have them.
struct BatchCase {
  Dtype weights, cache;
  std::vector<std::int32_t> positions;
  std::int64_t dim, window = 0, sinks = 0;
  std::optional<L2aMode> mode = std::nullopt;
};

void add_batch_case(Cases& cases, const BatchCase& b) {
  const std::string name = concat("batch of ", b.positions.size(), " ", b.weights, " on ", b.cache,
                                  " dim ", b.dim, " window ", b.window, " sinks ", b.sinks,
                                  !b.mode                   ? ""
                                  : *b.mode == L2aMode::add ? " add"
                                                            : " widen");
  cases.push_back(
      {name, [b](CaseBuilder& c) {
         constexpr std::int64_t kWidth = 512, kHeads = 8, kKeyHeads = 2;
         const auto count = static_cast<std::int64_t>(b.positions.size());
         const auto weight = [&](std::int64_t outer, std::int64_t inner) {
           return c.weight(b.weights, {outer, inner}, 0.2f);
         };
         const bool ring = b.window > 0 && !b.mode;
         BatchBlock block;
         block.weights = {weight(kHeads * b.dim, kWidth),
                          weight(kKeyHeads * b.dim, kWidth),
                          weight(kKeyHeads * b.dim, kWidth),
                          weight(kWidth, kHeads * b.dim),
                          {},
                          {},
                          {},
                          {},
                          c.weight(Dtype::f32, {b.dim}),
                          c.weight(Dtype::f32, {b.dim})};
         block.heads = {kHeads, kKeyHeads, b.dim, 1e-6f, RopePairing::half};
         BatchCache& cache = block.cache;
         cache.capacity = ring ? b.window + b.sinks : 700;
         cache.stride = (cache.capacity + 31) / 32 * 32;
         cache.sinks = ring ? b.sinks : 0;
         cache.ring = ring;
         // Sequences 1, 3, 5, ... of as many again: others lie between.
         BatchInputs inputs;
         std::vector<std::int32_t> places;
         for (std::int64_t s = 0; s < count; ++s) {
           inputs.sequences.push_back(2 * s + 1);
           places.push_back(static_cast<std::int32_t>(
               (2 * s + 1) * cache.stride +
               cache_slot(b.positions[static_cast<std::size_t>(s)], cache.capacity, cache.sinks)));
         }
         cache.places = c.indices(places);
         const double products = c.tolerances.of(b.weights);
         const Shape all{(2 * count + 1) * cache.stride, kKeyHeads, b.dim};
         cache.keys = c.state(b.cache, all, products);
         cache.values = c.state(b.cache, all, products);
         inputs.tokens.positions = c.indices(b.positions);
         const RopeFrequencies frequencies = rope_frequencies(b.dim, 1e4, {});
         inputs.tokens.rope_table = rope_table(c.graph, inputs.tokens.positions,
                                               c.floats(frequencies.inverse, {b.dim / 2}), 1);
         const Tensor x = c.input({count, kWidth});
         const Tensor h = rms_norm(c.graph, x, c.weight(Dtype::f32, {kWidth}), 1e-6f);
         // As of the decode cases: what is quantized on the way costs some percent, what is read in the wrong
         // place, all.
         constexpr double kFused = 5e-2;
         const AttentionSpan span{b.window, b.sinks, {}};
         if (!b.mode) {
           const Tensor own = batch_self_attention(c.graph, h, block, inputs, span);
           c.compare(add(c.graph, x, own), kFused);
           return;
         }
         // Every second one is routed.
         std::vector<float> draws;
         for (std::int64_t s = 0; s < count; ++s) draws.push_back(s % 2 == 0 ? 1.0f : -1.0f);
         const std::vector<float> one = {1.0f};
         const L2aRouter router{c.floats(one, {1, 1}), {}, c.floats(draws, {count, 1})};
         const BatchL2aResult result = batch_l2a_attention(c.graph, x, h, block, router, inputs,
                                                           {*b.mode, b.window, b.sinks, 0});
         for (const Rows rows : result.rows) c.compare(rows);
         c.compare(result.x, kFused);
       }});
}

void add_batches(Cases& cases) {
  const std::vector<std::int32_t> three = {69, 0, 690};
  const std::vector<std::int32_t> nine = {5, 699, 0, 31, 32, 33, 300, 64, 128};
  for (const Dtype weights : {Dtype::q8_0, Dtype::q4_k, Dtype::bf16}) {
    for (const Dtype cache : {Dtype::f32, Dtype::f16, Dtype::q8_0}) {
      for (const auto& positions : {three, nine}) {
        add_batch_case(cases, {weights, cache, positions, 128});
        add_batch_case(cases, {weights, cache, positions, 64, 40, 3});
        add_batch_case(cases, {weights, cache, positions, 128, 0, 0, L2aMode::add});
        add_batch_case(cases, {weights, cache, positions, 64, 40, 3, L2aMode::widen});
      }
    }
  }
}

}  // namespace

void add_batch_cases(Cases& cases) {
  add_concat(cases);
  add_places(cases);
  add_batches(cases);
}

}  // namespace l2a::test
