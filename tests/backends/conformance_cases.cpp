#include <cmath>
#include <numeric>
#include <optional>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/count_rows.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/l2a_attention.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/route.h"
#include "ops/row_lookup.h"
#include "ops/scatter_add_rows.h"
#include "ops/silu_mul.h"
#include "ops/top_k.h"
#include "tests/backends/conformance.h"
#include "tests/backends/conformance_batch.h"

namespace l2a::test {
namespace {

// Tolerances of what is no product, of the largest result (Tolerances has the rest). Float sums of up to a few thousand
// terms in another order: 1e-5.
constexpr double kFloat = 1e-5;
constexpr double kExp = 2e-6;  // two units in the last place, and the product

using Cases = std::vector<ConformanceCase>;
constexpr std::int64_t kSizes[] = {1, 3, 127};
constexpr std::int64_t kManyRows = 4097;

std::vector<std::int32_t> positions_from(std::int64_t start, std::int64_t count) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(count));
  std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(start));
  return positions;
}

void add_matmul(Cases& cases) {
  for (int d = 0; d < kDtypeCount; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    if (dtype == Dtype::i32) continue;
    const std::int64_t block = dtype_info(dtype).block_elements;
    for (const std::int64_t tokens : {1, 2, 4, 7, 33}) {
      for (const std::int64_t inner : {block, 3 * block, 512 + block}) {
        cases.push_back(
            {concat("matmul ", dtype, " ", tokens, "x", inner), [=](CaseBuilder& c) {
               const Tensor x = c.input({tokens, inner});
               c.compare(matmul(c.graph, x, c.weight(dtype, {37, inner})), c.tolerances.of(dtype));
             }});
      }
    }
    for (const double share : {0.0, 0.3, 1.0}) {
      cases.push_back(
          {concat("matmul ", dtype, " of rows ", share), [=](CaseBuilder& c) {
             const Tensor x = gather_rows(c.graph, c.input({21, 256}), c.rows(21, share));
             c.compare(matmul(c.graph, x, c.weight(dtype, {5, 256})), c.tolerances.of(dtype));
           }});
    }
    // Long rows that are whole vectors, with more weights and tokens than a tile of a device's kernel has.
    for (const std::int64_t tokens : {1, 5, 8, 140}) {
      cases.push_back(
          {concat("matmul ", dtype, " ", tokens, " of long rows"),
           [=](CaseBuilder& c) {
             const Tensor x = c.input({tokens, 2304});
             c.compare(matmul(c.graph, x, c.weight(dtype, {261, 2304})), c.tolerances.of(dtype));
           },
           tokens > 100});
    }
    cases.push_back({concat("row_lookup ", dtype), [=](CaseBuilder& c) {
                       const Tensor ids = c.indices(std::vector<std::int32_t>{0, 16, 3, 3});
                       c.compare(row_lookup(c.graph, c.weight(dtype, {17, 2 * block}), ids), 0);
                     }});
  }
  // Rows that are longer than what a backend may hold of them at once.
  for (const Dtype dtype : {Dtype::f16, Dtype::q8_0, Dtype::q4_k, Dtype::q6_k}) {
    cases.push_back(
        {concat("matmul ", dtype, " of rows beyond 8192"), [=](CaseBuilder& c) {
           const Tensor x = c.input({9, 8448});
           c.compare(matmul(c.graph, x, c.weight(dtype, {3, 8448})), c.tolerances.of(dtype));
         }});
  }
  for (const Dtype dtype : {Dtype::q8_0, Dtype::q4_k, Dtype::q5_1}) {
    // Some channels of a model's activations are far larger than the others, of every token.
    cases.push_back(
        {concat("matmul ", dtype, " of channels that stand out"),
         [=](CaseBuilder& c) {
           constexpr std::int64_t kInner = 1280;
           std::vector<float> offsets(kInner, 0.0f);
           offsets[5] = 10, offsets[700] = -30;
           const Tensor x = add(c.graph, c.input({150, kInner}), c.floats(offsets, {kInner}));
           c.compare(matmul(c.graph, x, c.weight(dtype, {300, kInner})), c.tolerances.standing_out);
         },
         true});
    // More tiles than a device has multiprocessors, cut off at all ends.
    cases.push_back({concat("matmul ", dtype, " with several tiles a multiprocessor"),
                     [=](CaseBuilder& c) {
                       c.compare(
                           matmul(c.graph, c.input({1151, 256}), c.weight(dtype, {4090, 256})),
                           c.tolerances.of(dtype));
                     },
                     true});
  }
  cases.push_back({"matmul of a view", [](CaseBuilder& c) {
                     const Tensor x = c.graph.slice(c.input({9, 64}), 3, 8);
                     c.compare(matmul(c.graph, x, c.weight(Dtype::q8_0, {10, 64})),
                               c.tolerances.of(Dtype::q8_0));
                   }});
  cases.push_back({"matmul with many rows and tokens",
                   [](CaseBuilder& c) {
                     c.compare(
                         matmul(c.graph, c.input({129, 96}), c.weight(Dtype::f16, {4097, 96})),
                         c.tolerances.of(Dtype::f16));
                   },
                   true});
  // More large tiles than a device has multiprocessors, cut off at both ends.
  cases.push_back({"matmul with several tiles a multiprocessor",
                   [](CaseBuilder& c) {
                     c.compare(
                         matmul(c.graph, c.input({2047, 72}), c.weight(Dtype::f16, {4090, 72})),
                         c.tolerances.of(Dtype::f16));
                   },
                   true});
}

void add_elementwise(Cases& cases) {
  for (const std::int64_t tokens : kSizes) {
    for (const std::int64_t width : {1, 5, 64, 1027}) {
      const std::string size = concat(tokens, "x", width);
      cases.push_back({"rms_norm " + size, [=](CaseBuilder& c) {
                         const Tensor x = c.input({tokens, width}, 3);
                         c.compare(rms_norm(c.graph, x, c.weight(Dtype::f32, {width}), 1e-6f),
                                   kFloat);
                       }});
      cases.push_back({"add " + size, [=](CaseBuilder& c) {
                         const Tensor x = c.input({tokens, width});
                         c.compare(add(c.graph, add(c.graph, x, c.input({tokens, width})),
                                       c.weight(Dtype::f32, {width})),
                                   kFloat);
                       }});
      cases.push_back({"silu_mul " + size, [=](CaseBuilder& c) {
                         const Tensor gate = c.input({tokens, width}, 20);
                         c.compare(silu_mul(c.graph, gate, c.input({tokens, width})), kExp);
                       }});
      cases.push_back({"argmax " + size, [=](CaseBuilder& c) {
                         c.compare(argmax(c.graph, c.input({tokens, width})), 0);
                       }});
      for (const Dtype from : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
        for (const Dtype to : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
          cases.push_back({concat("cast ", from, " to ", to, " ", size), [=](CaseBuilder& c) {
                             c.compare(cast(c.graph, c.weight(from, {tokens, width}), to), 0);
                           }});
        }
      }
    }
  }
  for (const Dtype from : {Dtype::f32, Dtype::f16}) {
    // A code may round to the other side.
    cases.push_back({concat("cast ", from, " to q8_0"), [=](CaseBuilder& c) {
                       c.compare(cast(c.graph, c.weight(from, {5, 3, 288}), Dtype::q8_0), 8e-3);
                     }});
  }
  cases.push_back({"argmax takes the first of equals and passes over NaN", [](CaseBuilder& c) {
                     const float nan = NAN;
                     const std::vector<float> values = {nan, 2,   5,   5,   1,  5,  nan, 1,
                                                        nan, nan, nan, nan, -1, -2, nan, -1};
                     c.compare(argmax(c.graph, c.floats(values, {4, 4})), 0);
                   }});
  for (const auto& [width, k] : {std::pair{1, 1}, {40, 40}, {5000, 1}, {9001, 40}, {40000, 700}}) {
    cases.push_back({concat("top_k ", k, " of ", width), [width = width, k = k](CaseBuilder& c) {
                       c.compare(top_k(c.graph, c.input({3, width}), k), 0);
                       // Many equal ones.
                       std::vector<float> few(static_cast<std::size_t>(width));
                       for (float& value : few) value = std::floor(c.uniform(-2, 3));
                       c.compare(top_k(c.graph, c.floats(few, {1, width}), k), 0);
                     }});
  }
  cases.push_back({"top_k puts NaN first, and equal zeros by place", [](CaseBuilder& c) {
                     const std::vector<float> values = {1, -0.0f, 0, NAN, -9, 3e38f, -2, 0};
                     c.compare(top_k(c.graph, c.floats(values, {1, 8}), 8), 0);
                   }});
  cases.push_back(
      {"copy of a view", [](CaseBuilder& c) {
         c.compare(copy(c.graph, c.graph.slice(c.weight(Dtype::f16, {7, 2, 5}), 2, 6)), 0);
       }});
}

// More rows than any kernel takes at a time.
void add_many_rows(Cases& cases) {
  cases.push_back(
      {"many rows", [](CaseBuilder& c) {
         const Tensor x = c.input({kManyRows, 6}, 3);
         const Tensor y = add(c.graph, rms_norm(c.graph, x, c.weight(Dtype::f32, {6}), 1e-6f), x);
         c.compare(silu_mul(c.graph, y, x), kFloat);
         c.compare(argmax(c.graph, y), 0);
         c.compare(cast(c.graph, c.weight(Dtype::f16, {kManyRows, 6}), Dtype::f32), 0);
         const RopeFrequencies rope_values = rope_frequencies(6, 1e4, {});
         const Tensor table = rope_table(c.graph, c.indices(positions_from(3, kManyRows)),
                                         c.floats(rope_values.inverse, {3}), 1);
         c.compare(rope(c.graph, c.graph.reshape(x, {kManyRows, 1, 6}), table, RopePairing::half),
                   kFloat);
       }});
  for (const Dtype dtype : {Dtype::f32, Dtype::q4_k}) {
    for (const double share : {-1.0, 0.0, 0.3, 1.0}) {  // negative: no Rows
      cases.push_back(
          {concat("matmul ", dtype, " of many rows at ", share), [=](CaseBuilder& c) {
             Tensor x = c.input({kManyRows, 256});
             if (share >= 0) x = gather_rows(c.graph, x, c.rows(kManyRows, share));
             c.compare(matmul(c.graph, x, c.weight(dtype, {3, 256})), c.tolerances.of(dtype));
           }});
    }
  }
}

void add_rows(Cases& cases) {
  for (const std::int64_t tokens : {1, 3, 127, 4097}) {
    cases.push_back(
        {concat("route ", tokens), [=](CaseBuilder& c) {
           // Features of either sign and no less than 1/2, so that no logit is near the cut of 0.
           std::vector<float> x(static_cast<std::size_t>(tokens * 3));
           for (float& value : x) value = c.uniform() < 0 ? -1.0f : 1.0f;
           const std::vector<float> w = {0.5f, 0.25f, 2.0f}, b = {0.125f};
           const Tensor features = c.floats(x, {tokens, 3});
           const Rows rows = route(c.graph, features, c.floats(w, {1, 3}), c.floats(b, {1}), 0.0f);
           c.compare(rows);
           count_rows(c.graph, c.state(Dtype::i32, {3}), rows, 1);
         }});
    for (const double share : {0.0, 0.2, 1.0}) {
      cases.push_back(
          {concat("gather and scatter ", tokens, " at ", share), [=](CaseBuilder& c) {
             const Tensor x = c.input({tokens, 19});
             const Rows rows = c.rows(tokens, share);
             const Tensor picked = gather_rows(c.graph, x, rows);
             c.compare(picked, 0);
             const Tensor scaled = rms_norm(c.graph, picked, c.weight(Dtype::f32, {19}), 1e-6f);
             const Tensor biased = add(c.graph, scaled, c.weight(Dtype::f32, {19}));
             const Tensor doubled = add(c.graph, biased, scaled);
             // Twice: once where x is needed afterwards, once in place.
             const Tensor apart = scatter_add_rows(c.graph, x, doubled);
             c.compare(scatter_add_rows(c.graph, add(c.graph, apart, x), picked), kFloat);
           }});
    }
  }
}

void add_rope(Cases& cases) {
  for (const RopePairing pairing : {RopePairing::half, RopePairing::interleaved}) {
    for (const std::int64_t tokens : kSizes) {
      for (const double share : {-1.0, 0.0, 0.4}) {  // negative: no Rows
        cases.push_back(
            {concat("rope ", static_cast<int>(pairing), " ", tokens, " at ", share),
             [=](CaseBuilder& c) {
               const RopeFrequencies rope_values = rope_frequencies(10, 1e6, {});
               const Tensor table = rope_table(c.graph, c.indices(positions_from(131000, tokens)),
                                               c.floats(rope_values.inverse, {5}), 1.25f);
               Tensor x = c.input({tokens, 30});
               if (share >= 0) x = gather_rows(c.graph, x, c.rows(tokens, share));
               c.compare(rope(c.graph, c.graph.reshape(x, {tokens, 3, 10}), table, pairing),
                         kFloat);
             }});
      }
    }
  }
}

struct AttentionCase {
  Dtype dtype;
  std::int64_t start, tokens, capacity, query_heads, key_heads, dim;
  AttentionOptions options;
  bool fresh = false;
  double rows = -1,
         wide =
             -1;  // routed share of a compact query, or of tokens without a window; negative: none
};

void add_attention_case(Cases& cases, const AttentionCase& a) {
  const std::string name = concat(
      "attention ", a.dtype, " start ", a.start, " tokens ", a.tokens, " capacity ", a.capacity,
      " heads ", a.query_heads, "/", a.key_heads, " dim ", a.dim, " window ", a.options.window,
      " sinks ", a.options.sinks, a.fresh ? " fresh" : "", " rows ", a.rows, " wide ", a.wide);
  cases.push_back(
      {name,
       [a](CaseBuilder& c) {
         const Shape cache{a.capacity, a.key_heads, a.dim}, chunk{a.tokens, a.key_heads, a.dim};
         AttentionInputs in;
         in.positions = c.indices(positions_from(a.start, a.tokens));
         in.keys = c.state(a.dtype, cache);
         in.values = c.state(a.dtype, cache);
         if (a.fresh) {
           in.fresh_keys = c.weight(a.dtype, chunk);
           in.fresh_values = c.weight(a.dtype, chunk);
         }
         Tensor q = c.input({a.tokens, a.query_heads * a.dim}, 4);
         if (a.rows >= 0) q = gather_rows(c.graph, q, c.rows(a.tokens, a.rows));
         if (a.wide >= 0) in.wide = c.rows(a.tokens, a.wide);
         in.query = c.graph.reshape(q, {a.tokens, a.query_heads, a.dim});
         const bool blocks = dtype_info(a.dtype).quantized;
         const double exact = blocks ? c.tolerances.cached_blocks : c.tolerances.of(a.dtype);
         c.compare(attention(c.graph, in, a.options),
                   a.dtype == Dtype::f32 ? exact : std::max(exact, c.tolerances.rounded_attention));
         if (a.fresh) {
           kv_append(c.graph, in.keys, in.fresh_keys, in.positions, a.options.cache_sinks);
         }
       },
       a.start >= 3000});
}

void add_attention(Cases& cases) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
    // Heads are whole blocks of the caches' dtype.
    const std::int64_t block = dtype_info(dtype).block_elements;
    const auto whole = [=](std::int64_t dim) { return (dim + block - 1) / block * block; };
    for (const auto& [query, key] : {std::pair{1, 1}, {3, 1}, {4, 1}, {8, 2}, {15, 3}}) {
      for (const std::int64_t dim : {5, 64}) {
        add_attention_case(cases, {dtype, 70, 3, 200, query, key, whole(dim), {}});
      }
    }
    for (const std::int64_t window : {1, 7, 64, 65, 1000}) {
      for (const double share : {-1.0, 0.0, 0.3, 1.0}) {
        add_attention_case(cases,
                           {dtype, 100, 33, 133, 4, 2, whole(16), {window, 0, 0}, false, share});
        add_attention_case(
            cases, {dtype, 100, 33, 133, 4, 2, whole(16), {window, 4, 0}, false, -1, share});
      }
    }
    // Long caches, whose keys a backend may split: one token, a few, compact and wide rows, windows.
    for (const std::int64_t tokens : {1, 3}) {
      for (const std::int64_t window : {0, 700, 9000}) {
        for (const double share : {-1.0, 0.0, 1.0}) {
          const AttentionOptions options{window, window > 0 ? 5 : 0, 0};
          add_attention_case(cases,
                             {dtype, 1500, tokens, 2048, 3, 1, whole(20), options, false, share});
          add_attention_case(cases,
                             {dtype, 1500, tokens, 2048, 4, 2, 64, options, false, -1, share});
        }
      }
    }
    // A long chunk, with windows below and above it.
    for (const std::int64_t window : {0, 30, 500}) {
      for (const double share : {-1.0, 0.4}) {
        add_attention_case(cases, {dtype, 20, 127, 147, 6, 2, 128, {window, 0, 0}, false, share});
        add_attention_case(cases,
                           {dtype, 20, 127, 147, 2, 2, 256, {window, 2, 0}, false, -1, share});
      }
    }
    // Heads as models have them, and enough keys for blocks of a device's kernel to share.
    for (const std::int64_t dim : {64, 128}) {
      for (const std::int64_t tokens : {1, 6, 41}) {
        add_attention_case(cases, {dtype, 90, tokens, 131, 8, 2, dim, {}});
        add_attention_case(cases, {dtype, 90, tokens, 131, 8, 2, dim, {}, false, 0.4});
        add_attention_case(cases, {dtype, 90, tokens, 131, 6, 2, dim, {70, 5, 0}, false, -1, 0.4});
        add_attention_case(cases, {dtype, 150, tokens, 75, 4, 2, dim, {70, 5, 5}, tokens > 1});
      }
      // Tiles of many rows: compact ones, sinks in the chunk and in the ring, a ring that wraps.
      for (const double share : {0.0, 0.2, 1.0})
        add_attention_case(cases, {dtype, 90, 150, 250, 8, 1, dim, {}, false, share});
      add_attention_case(cases, {dtype, 90, 150, 250, 3, 3, dim, {64, 100, 0}, false, -1, 1.0});
      for (const std::int64_t start : {0, 60, 260})
        add_attention_case(cases, {dtype, start, 150, 205, 4, 2, dim, {200, 5, 5}, true});
      // Few rows against long contexts, whose keys a device may split.
      add_attention_case(cases, {dtype, 3000, 20, 3100, 8, 2, dim, {}, false, 0.5});
      add_attention_case(cases, {dtype, 3000, 20, 3020, 2, 1, dim, {100, 5, 0}, false, -1, 0.4});
      add_attention_case(cases, {dtype, 2000, 1, 2100, 8, 2, dim, {}});
      add_attention_case(cases, {dtype, 2000, 3, 2100, 8, 2, dim, {1500, 20, 0}, false, -1, 0.5});
    }
    // A head size between powers of two, and tiles of every width, full and not: with windows, wide rows between them,
    // and a group of more heads than a tile has rows.
    for (const std::int64_t tokens : {1, 2, 5, 13, 26, 70}) {
      const std::int64_t dim = whole(80);
      add_attention_case(cases, {dtype, 60, tokens, 130, 6, 2, dim, {}});
      add_attention_case(cases, {dtype, 60, tokens, 130, 5, 1, dim, {33, 0, 0}, false, 0.5});
      add_attention_case(cases, {dtype, 60, tokens, 130, 4, 4, dim, {20, 3, 0}, false, -1, 0.3});
      add_attention_case(cases, {dtype, 2, tokens, 72, 70, 1, whole(8), {9, 2, 0}, false, -1, 0.3});
    }
    // Rings: one token after its append, and chunks shorter and longer than the ring.
    for (const std::int64_t start : {0, 3, 11, 12, 40}) {
      add_attention_case(cases, {dtype, start, 1, 12, 4, 2, whole(16), {12, 0, 0}});
      add_attention_case(cases, {dtype, start, 1, 15, 4, 2, whole(16), {12, 3, 3}});
      for (const std::int64_t tokens : {2, 12, 29}) {
        add_attention_case(cases, {dtype, start, tokens, 12, 4, 2, whole(16), {12, 0, 0}, true});
        add_attention_case(cases, {dtype, start, tokens, 15, 4, 2, whole(16), {12, 3, 3}, true});
      }
    }
    for (const std::int64_t tokens : {1, 5, 40}) {
      for (const std::int64_t sinks : {0, 3}) {
        cases.push_back({concat("kv_append ", dtype, " ", tokens, " tokens, ", sinks, " sinks"),
                         [=](CaseBuilder& c) {
                           const Tensor cache = c.state(dtype, {16, 2, whole(7)});
                           kv_append(c.graph, cache, c.input({tokens, 2, whole(7)}),
                                     c.indices(positions_from(9, tokens)), sinks);
                         }});
      }
    }
  }
}

// The whole block, both modes, on a cache that holds everything.
void add_l2a(Cases& cases) {
  for (const L2aMode mode : {L2aMode::add, L2aMode::widen}) {
    for (const std::int64_t tokens : {1, 9, 70}) {
      for (const float cut : {-100.0f, 0.0f, 100.0f}) {
        cases.push_back({concat("l2a_attention ", mode == L2aMode::add ? "add" : "widen", " ",
                                tokens, " cut ", cut),
                         [=](CaseBuilder& c) {
                           const std::int64_t width = 24, dim = 8;
                           TokenInputs inputs;
                           inputs.positions = c.indices(positions_from(5, tokens));
                           const RopeFrequencies rope_values = rope_frequencies(dim, 1e4, {});
                           inputs.rope_table =
                               rope_table(c.graph, inputs.positions,
                                          c.floats(rope_values.inverse, {dim / 2}), 1);
                           AttentionBlock block;
                           block.weights = {
                               c.weight(Dtype::f32, {32, width}), c.weight(Dtype::f32, {16, width}),
                               c.weight(Dtype::f32, {16, width}), c.weight(Dtype::f32, {width, 32}),
                               c.weight(Dtype::f32, {32}),        c.weight(Dtype::f32, {16}),
                               c.weight(Dtype::f32, {16}),        {},
                               c.weight(Dtype::f32, {dim}),       c.weight(Dtype::f32, {dim})};
                           block.heads = {4, 2, dim, 1e-6f, RopePairing::half};
                           block.cache = {c.state(Dtype::f32, {128, 2, dim}),
                                          c.state(Dtype::f32, {128, 2, dim}), 0, false};
                           const L2aRouter router{c.weight(Dtype::f32, {1, width}), {}};
                           const Tensor x = c.input({tokens, width});
                           const L2aResult result = l2a_attention(c.graph, x, x, block, router,
                                                                  inputs, {mode, 6, 2, cut});
                           c.compare(result.rows);
                           c.compare(result.x, kFloat);
                         }});
      }
    }
  }
}

// One token through a norm and an attention block as models have them, which backends fuse: dense, on a ring, and routed
// or not. What is quantized on the way costs some percent; what is read in the wrong place, all.
struct DecodeCase {
  Dtype weights, cache;
  std::int64_t start, dim, window = 0, sinks = 0;
  std::optional<L2aMode> mode = std::nullopt;
  float routed = 0;         // draws that are compared with the cut, 0
  bool asks_token = false;  // the router reads the token itself
  bool biased = false;
};

void add_decode_case(Cases& cases, const DecodeCase& d) {
  const std::string name =
      concat("decode ", d.weights, " on ", d.cache, " start ", d.start, " dim ", d.dim, " window ",
             d.window, " sinks ", d.sinks, d.biased ? " biased" : "",
             !d.mode                   ? ""
             : *d.mode == L2aMode::add ? " add"
                                       : " widen",
             " routed ", d.routed, d.asks_token ? " by the token" : "");
  cases.push_back(
      {name, [d](CaseBuilder& c) {
         constexpr std::int64_t kWidth = 512, kHeads = 8, kKeyHeads = 2;
         const auto weight = [&](std::int64_t outer, std::int64_t inner) {
           return c.weight(d.weights, {outer, inner}, 0.2f);
         };
         const auto bias = [&](std::int64_t count) {
           return d.biased ? c.weight(Dtype::f32, {count}) : Tensor{};
         };
         TokenInputs inputs;
         inputs.positions = c.indices(positions_from(d.start, 1));
         const RopeFrequencies frequencies = rope_frequencies(d.dim, 1e4, {});
         inputs.rope_table =
             rope_table(c.graph, inputs.positions, c.floats(frequencies.inverse, {d.dim / 2}), 1);
         AttentionBlock block;
         block.weights = {weight(kHeads * d.dim, kWidth),
                          weight(kKeyHeads * d.dim, kWidth),
                          weight(kKeyHeads * d.dim, kWidth),
                          weight(kWidth, kHeads * d.dim),
                          bias(kHeads * d.dim),
                          bias(kKeyHeads * d.dim),
                          bias(kKeyHeads * d.dim),
                          {},
                          d.biased ? Tensor{} : c.weight(Dtype::f32, {d.dim}),
                          d.biased ? Tensor{} : c.weight(Dtype::f32, {d.dim})};
         block.heads = {kHeads, kKeyHeads, d.dim, 1e-6f, RopePairing::half};
         const bool ring = d.window > 0 && !d.mode;
         const Shape cache{ring ? d.window + d.sinks : 2100, kKeyHeads, d.dim};
         const double products = c.tolerances.of(d.weights);
         block.cache = {c.state(d.cache, cache, products), c.state(d.cache, cache, products),
                        ring ? d.sinks : 0, ring};
         const Tensor x = c.input({1, kWidth});
         const Tensor h = rms_norm(c.graph, x, c.weight(Dtype::f32, {kWidth}), 1e-6f);
         const std::vector<float> draw = {d.routed}, one = {1.0f};
         constexpr double kFused = 5e-2;
         if (!d.mode) {
           const AttentionSpan span{d.window, d.sinks, {}};
           c.compare(add(c.graph, x, self_attention(c.graph, h, h, block, inputs, span)), kFused);
           return;
         }
         L2aRouter router{c.floats(one, {1, 1}), {}, c.floats(draw, {1, 1})};
         L2aOptions options{*d.mode, d.window, d.sinks, 0};
         if (d.asks_token) {
           router = {c.weight(Dtype::f32, {1, kWidth}), {}, {}};
           options.cut = d.routed > 0 ? -1000.0f : 1000.0f;
         }
         const L2aResult result = l2a_attention(c.graph, x, h, block, router, inputs, options);
         const Tensor tally = c.state(Dtype::i32, {3});
         count_rows(c.graph, tally, result.rows, 1);
         c.compare(result.rows);
         c.compare(result.x, kFused);
       }});
}

void add_decode(Cases& cases) {
  for (const Dtype weights : {Dtype::q8_0, Dtype::q6_k, Dtype::bf16}) {
    for (const Dtype cache : {Dtype::f32, Dtype::f16, Dtype::q8_0}) {
      for (const std::int64_t start : {0, 69, 2000}) {
        add_decode_case(cases, {weights, cache, start, 128});
        add_decode_case(cases, {weights, cache, start, 64, 40, 3});
        for (const float routed : {-1.0f, 1.0f}) {
          add_decode_case(cases, {weights, cache, start, 128, 0, 0, L2aMode::add, routed});
          add_decode_case(cases, {weights, cache, start, 64, 40, 3, L2aMode::widen, routed});
        }
      }
    }
  }
  for (const float routed : {-1.0f, 1.0f}) {
    add_decode_case(cases, {Dtype::q4_k, Dtype::bf16, 300, 64, 0, 0, L2aMode::add, routed, true});
    add_decode_case(cases,
                    {Dtype::q4_k, Dtype::f16, 300, 128, 40, 3, L2aMode::widen, routed, true});
  }
  add_decode_case(cases, {Dtype::q8_0, Dtype::f16, 300, 64, 0, 0, {}, 0, false, true});
}

}  // namespace

const std::vector<ConformanceCase>& conformance_cases() {
  static const Cases cases = [] {
    Cases all;
    add_matmul(all);
    add_elementwise(all);
    add_many_rows(all);
    add_rows(all);
    add_rope(all);
    add_attention(all);
    add_l2a(all);
    add_decode(all);
    add_batch_cases(all);
    return all;
  }();
  return cases;
}

}  // namespace l2a::test
