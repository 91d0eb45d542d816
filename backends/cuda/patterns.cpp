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

std::optional<Routed> Patterns::match_routed(std::size_t i) const {
  if (op<Route>(i) == nullptr || in(i, Route::kX).shape[0] != 1) return std::nullopt;
  Routed routed;
  routed.route = i;
  if (op<GatherRows>(i + 1) != nullptr && in_value(i + 1, GatherRows::kRows) == out_value(i))
    routed.gather = i + 1;
  const auto found = match_heads(routed.end(), routed);
  if (!found || !found->query) return std::nullopt;
  // One launch answers for all, and each needs its activations where a block prepares them.
  for (const ProjectionRun* one : {&found->key, &found->value, &*found->query}) {
    if (!prepares(one->matmul)) return std::nullopt;
  }
  // The router may read something else, but not a norm that only it and these products have.
  const bool same = in_value(i, Route::kX) == in_value(found->key.matmul, Matmul::kX) &&
                    in(i, Route::kX).shape == in(found->key.matmul, Matmul::kX).shape;
  if (!same && i > 0 && in_value(i, Route::kX) == out_value(i - 1)) return std::nullopt;
  return routed;
}
std::optional<HeadsRun> Patterns::match_heads(std::size_t i, const Routed& routed) const {
  auto found = l2a::match_heads(*this, i, routed.gather);
  if (!found || !few(found->key.matmul) || !few(found->value.matmul) ||
      out(found->append_key).shape[2] > kMostHeadDims)
    return std::nullopt;
  if (found->query && !few(found->query->matmul)) found->query.reset();
  return found;
}

bool Patterns::attends(std::size_t i, const HeadsRun& heads) const {
  if (op<Attention>(i) == nullptr || !heads.query ||
      !feeds_only(heads.query->last, i, Attention::kQuery))
    return false;
  const std::vector<ValueId>& inputs = node(i).inputs;
  const auto untouched = [&](std::size_t append) {
    return value(node(append).inputs[KvAppend::kCache]).kind == ValueKind::state;
  };
  return inputs[Attention::kKeys] == node(heads.append_key).output &&
         inputs[Attention::kValues] == node(heads.append_value).output &&
         inputs[Attention::kFreshKeys] == kNoValue && untouched(heads.append_key) &&
         untouched(heads.append_value) &&
         in(i, Attention::kPositions).data == in(heads.append_key, KvAppend::kPositions).data;
}

}  // namespace l2a::cuda
