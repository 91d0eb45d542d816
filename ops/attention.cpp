#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/check.h"
#include "ops/dequantize.h"
#include "ops/kv_append.h"

namespace l2a {

OutputInfo Attention::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &query = inputs[kQuery], &keys = inputs[kKeys], &values = inputs[kValues];
  require_f32(query, "the query");
  require_rank(query, 3, "the query");
  require_rank(keys, 3, "the keys");
  require(is_cache_dtype(keys.dtype), "the caches must be f32, f16, bf16 or q8_0");
  require(values.present() && values.dtype == keys.dtype && values.shape == keys.shape,
          "keys and values must have one dtype and shape");
  require(query.shape[2] == keys.shape[2], "query and keys must have one head size");
  require(query.shape[1] % keys.shape[1] == 0,
          "the query heads must be a multiple of the key heads");
  const ValueInfo& positions = inputs[kPositions];
  require_rank(positions, 1, "the positions");
  require(positions.dtype == Dtype::i32 && positions.shape[0] == query.shape[0],
          "there must be an i32 position for every token");
  require(options.window >= 0 && options.sinks >= 0, "window and sinks cannot be negative");
  require(options.cache_sinks >= 0 && options.cache_sinks < keys.shape[0],
          "the cache must have more slots than sinks");
  const ValueInfo &fresh_keys = inputs[kFreshKeys], &fresh_values = inputs[kFreshValues];
  require(fresh_keys.present() == fresh_values.present(), "fresh keys and values come together");
  for (const ValueInfo* fresh : {&fresh_keys, &fresh_values}) {
    if (!fresh->present()) continue;
    require(fresh->dtype == keys.dtype && !fresh->compact() &&
                fresh->shape == Shape{query.shape[0], keys.shape[1], keys.shape[2]},
            "fresh keys and values must be [T, Hk, D] in the dtype of the caches");
  }
  const ValueInfo& wide = inputs[kWideRows];
  require(!wide.present() || wide.is_rows, "the tokens without a window must be Rows");
  require(!(wide.present() && query.compact()), "a compact query has no rows of another kind");
  require_rows_of(query, inputs[kRows]);
  return {Dtype::f32, query.shape, query.rows};
}

namespace {

// Keys that a row of the last `tokens` of `context` sees on average, each at most the last `limit`.
double mean_seen(double context, double tokens, double limit) {
  const double first = context - tokens + 1;  // keys up to the first row's own
  if (limit <= first) return limit;
  const double short_rows = std::min(limit, context) - first;  // rows that see less than the limit
  const double short_sum = short_rows * (first + std::min(limit, context) - 1) / 2;
  return (short_sum + (tokens - short_rows) * limit) / tokens;
}

}  // namespace

Cost Attention::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                     const CostHints& hints) const {
  const ValueInfo &query = inputs[kQuery], &keys = inputs[kKeys];
  const auto tokens = static_cast<double>(query.shape[0]);
  const auto context = std::max(static_cast<double>(hints.context), tokens);
  const double limit = options.window > 0
                           ? std::min(context, static_cast<double>(options.window + options.sinks))
                           : context;
  const bool wide = inputs[kWideRows].present();
  double seen = mean_seen(context, tokens, limit);
  if (wide) {
    seen =
        hints.routed_share * mean_seen(context, tokens, context) + (1 - hints.routed_share) * seen;
  }
  const double rows = query.compact() ? tokens * hints.routed_share : tokens;
  Cost cost;
  cost.operations = 4.0 * rows * seen * static_cast<double>(query.shape[1] * query.shape[2]);
  // Each cached key is read once for all rows of a chunk; at decode not at all when the token is
  // not routed.
  const double chunk = wide ? context : std::min(context, limit + tokens - 1);
  const double read = query.shape[0] > 1 ? chunk : rows * seen;
  const double position_bytes =
      2.0 * static_cast<double>(dtype_bytes(keys.dtype, keys.shape[1] * keys.shape[2]));
  cost.bytes = read * position_bytes + operand_bytes(query, hints) + operand_bytes(output, hints);
  return cost;
}

void Attention::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &query = inputs[kQuery], &keys = inputs[kKeys], &values = inputs[kValues];
  const TensorView &fresh_keys = inputs[kFreshKeys], &fresh_values = inputs[kFreshValues];
  const TensorView &wide = inputs[kWideRows], &rows = inputs[kRows];
  const std::int64_t head_dim = query.shape[2], group = query.shape[1] / keys.shape[1];
  const std::size_t key_bytes = dtype_bytes(keys.dtype, head_dim);
  const std::int64_t start = *inputs[kPositions].row<const std::int32_t>(0);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));

  std::vector<float> vector(static_cast<std::size_t>(head_dim));
  auto load = [&](const TensorView& cache, const TensorView& fresh, std::int64_t position,
                  std::int64_t head) {
    const std::byte* from =
        fresh && position >= start
            ? fresh.row<const std::byte>(position - start, head)
            : cache.row<const std::byte>(cache_slot(position, cache.shape[0], options.cache_sinks),
                                         head);
    dequantize_row(cache.dtype, {from, key_bytes}, vector);
  };

  std::vector<std::int64_t> seen;
  std::vector<float> scores;
  for (std::int64_t i = 0; i < active_rows(rows, query.shape[0]); ++i) {
    const std::int64_t token = token_of_row(rows, i);
    bool is_wide = false;
    if (wide) {
      const std::int32_t* list = wide.row<const std::int32_t>(1);
      is_wide = std::binary_search(list, list + active_rows(wide, query.shape[0]), token);
    }
    const KeyRange range = key_range(options, start + token, is_wide);
    seen.clear();
    for (std::int64_t j = 0; j < range.sinks_end; ++j) seen.push_back(j);
    for (std::int64_t j = range.begin; j < range.end; ++j) seen.push_back(j);
    scores.resize(seen.size());
    for (std::int64_t h = 0; h < query.shape[1]; ++h) {
      const float* q = query.row<const float>(i, h);
      float largest = -std::numeric_limits<float>::infinity();
      for (std::size_t j = 0; j < seen.size(); ++j) {
        load(keys, fresh_keys, seen[j], h / group);
        float dot = 0;
        for (std::int64_t d = 0; d < head_dim; ++d)
          dot += q[d] * vector[static_cast<std::size_t>(d)];
        scores[j] = dot * scale;
        largest = std::max(largest, scores[j]);
      }
      float sum = 0;
      for (float& score : scores) sum += score = std::exp(score - largest);
      float* out = output.row<float>(i, h);
      std::fill_n(out, head_dim, 0.0f);
      for (std::size_t j = 0; j < seen.size(); ++j) {
        load(values, fresh_values, seen[j], h / group);
        const float p = scores[j] / sum;
        for (std::int64_t d = 0; d < head_dim; ++d)
          out[d] += p * vector[static_cast<std::size_t>(d)];
      }
    }
  }
}

Tensor attention(GraphBuilder& graph, const AttentionInputs& inputs,
                 const AttentionOptions& options) {
  return graph.add(std::make_shared<Attention>(options),
                   {inputs.query, inputs.keys, inputs.values, inputs.positions, inputs.fresh_keys,
                    inputs.fresh_values, Tensor{inputs.wide.id}, graph.rows_of(inputs.query)});
}

}  // namespace l2a
