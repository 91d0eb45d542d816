#include "backends/cuda/patterns.h"

#include <algorithm>

#include "backends/cuda/kernels/fused_parts.h"
#include "ops/add.h"
#include "ops/attention.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/route.h"

namespace l2a::cuda {

bool Patterns::few(std::size_t i) const {
  if (op<Matmul>(i) == nullptr) return false;
  const TensorView &x = in(i, Matmul::kX), &weight = in(i, Matmul::kWeight);
  if (x.shape[0] > kMatvecTokens) return false;
  const auto at = [](const TensorView& view) {
    return reinterpret_cast<std::uintptr_t>(view.data);
  };
  return dtype_info(weight.dtype).quantized ||
         ((weight.strides[0] | static_cast<std::int64_t>(at(weight)) |
           static_cast<std::int64_t>(at(x))) %
                  16 ==
              0 &&
          x.shape[1] % 8 == 0);
}
bool Patterns::same_x(std::size_t i, std::size_t j) const {
  return in(i, Matmul::kX).data == in(j, Matmul::kX).data &&
         in_value(i, Matmul::kX) == in_value(j, Matmul::kX) &&
         in_value(i, Matmul::kRows) == in_value(j, Matmul::kRows);
}
bool Patterns::prepares(std::size_t i) const {
  const Shape& x = in(i, Matmul::kX).shape;
  return few(i) && prepares_token(in(i, Matmul::kWeight).dtype, x[0], x[1], device_);
}
bool Patterns::writes_apart(std::size_t product, const TensorView& to) const {
  const bool copied = dtype_info(in(product, Matmul::kWeight).dtype).quantized;
  return (copied && !prepares(product)) || !overlap(in(product, Matmul::kX), to);
}

bool Patterns::can_leave_norm(std::size_t i) const {
  const TensorView& x = in(i, RmsNorm::kX);
  if (x.shape.rank() != 2 || x.shape[0] != 1 || in_value(i, RmsNorm::kRows) != kNoValue ||
      reinterpret_cast<std::uintptr_t>(x.data) % 16 != 0)
    return false;
  int readers_left = readers(i);
  std::size_t last = i;
  const auto routed = match_routed(i + 1);
  for (std::size_t j = i + 1; j < size() && readers_left > 0; ++j) {
    const auto inputs = node(j).inputs;
    const auto reads = std::count_if(inputs.begin(), inputs.end(), [&](ValueId id) {
      return id != kNoValue && graph().root(id) == out_value(i);
    });
    if (reads == 0) continue;
    const bool inside = routed && (j == routed->route || j == routed->gather);
    const bool multiplies =
        op<Matmul>(j) != nullptr && prepares(j) && in(j, Matmul::kX).data == out(i).data &&
        in(j, Matmul::kX).shape == x.shape && in_value(j, Matmul::kRows) == kNoValue;
    if (reads != 1 || (!inside && !multiplies)) return false;
    --readers_left;
    last = j;
  }
  if (readers_left != 0) return false;
  // What the products and what is fused to them write lies apart from what the norm reads.
  for (std::size_t j = i + 1; j < std::min(last + 3, size()); ++j) {
    if (overlap(x, out(j))) return false;
  }
  return true;
}

std::optional<Projection> Patterns::projection(std::size_t i, ValueId rows) const {
  if (i >= size() || !few(i) || in_value(i, Matmul::kRows) != rows) return std::nullopt;
  Projection p;
  p.matmul = p.last = i;
  if (op<Add>(i + 1) != nullptr && feeds_only(p.last, i + 1, Add::kA) &&
      in(i + 1, Add::kB).shape.rank() == 1) {
    p.bias = &in(i + 1, Add::kB);
    p.last = ++i;
  }
  if (const auto* norm = op<RmsNorm>(i + 1);
      norm != nullptr && feeds_only(p.last, i + 1, RmsNorm::kX)) {
    p.norm = &in(i + 1, RmsNorm::kWeight);
    p.eps = norm->eps;
    p.last = ++i;
  }
  if (const auto* rope = op<Rope>(i + 1); rope != nullptr && feeds_only(p.last, i + 1, Rope::kX)) {
    p.rope = rope;
    p.table = &in(i + 1, Rope::kTable);
    p.last = ++i;
  }
  p.next = i + 1;
  return p;
}

std::optional<Routed> Patterns::match_routed(std::size_t i) const {
  if (op<Route>(i) == nullptr || in(i, Route::kX).shape[0] != 1) return std::nullopt;
  Routed routed;
  routed.route = i;
  if (op<GatherRows>(i + 1) != nullptr && in_value(i + 1, GatherRows::kRows) == out_value(i))
    routed.gather = i + 1;
  const auto found = match_heads(routed.end(), routed);
  if (!found || !found->query) return std::nullopt;
  // One launch answers for all, and each needs its activations where a block prepares them.
  for (const Projection* one : {&found->key, &found->value, &*found->query}) {
    if (!prepares(one->matmul)) return std::nullopt;
  }
  // The router may read something else, but not a norm that only it and these products have.
  const bool same = in_value(i, Route::kX) == in_value(found->key.matmul, Matmul::kX) &&
                    in(i, Route::kX).shape == in(found->key.matmul, Matmul::kX).shape;
  if (!same && i > 0 && in_value(i, Route::kX) == out_value(i - 1)) return std::nullopt;
  return routed;
}
std::optional<Heads> Patterns::match_heads(std::size_t i, const Routed& routed) const {
  const auto key = projection(i, kNoValue);
  if (!key || key->rope == nullptr) return std::nullopt;
  const auto value = projection(key->next, kNoValue);
  if (!value || value->rope != nullptr || value->norm != nullptr || !same_x(i, value->matmul))
    return std::nullopt;
  const std::size_t first = value->next, second = first + 1;
  const auto *append_key = op<KvAppend>(first), *append_value = op<KvAppend>(second);
  if (append_key == nullptr || append_value == nullptr ||
      !feeds_only(key->last, first, KvAppend::kX) ||
      !feeds_only(value->last, second, KvAppend::kX) || append_key->sinks != append_value->sinks ||
      out(second).shape != out(first).shape || out(first).shape[2] > kMostHeadDims) {
    return std::nullopt;
  }
  Heads found{*key, *value, std::nullopt, first, second};
  const auto query = projection(second + 1, routed.gathers() ? out_value(routed.route) : kNoValue);
  if (!query || query->rope == nullptr || query->table->data != key->table->data ||
      query->rope->pairing != key->rope->pairing ||
      (query->norm != nullptr && key->norm != nullptr && query->eps != key->eps))
    return found;
  const bool same = routed.gathers()
                        ? feeds_only(routed.gather, query->matmul, Matmul::kX) &&
                              in_value(routed.gather, GatherRows::kX) == in_value(i, Matmul::kX)
                        : same_x(i, query->matmul);
  if (same) found.query = query;
  return found;
}

bool Patterns::attends(std::size_t i, const Heads& heads) const {
  if (op<Attention>(i) == nullptr || !heads.query ||
      !feeds_only(heads.query->last, i, Attention::kQuery))
    return false;
  const std::vector<ValueId>& inputs = node(i).inputs;
  const auto untouched = [&](std::size_t append) {
    return value(node(append).inputs[KvAppend::kCache]).kind == ValueKind::state;
  };
  return inputs[Attention::kKeys] == node(heads.first).output &&
         inputs[Attention::kValues] == node(heads.second).output &&
         inputs[Attention::kFreshKeys] == kNoValue && untouched(heads.first) &&
         untouched(heads.second) &&
         in(i, Attention::kPositions).data == in(heads.first, KvAppend::kPositions).data;
}

}  // namespace l2a::cuda
