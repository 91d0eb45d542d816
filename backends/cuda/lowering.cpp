#include "backends/cuda/lowering.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "backends/cuda/kernels/fused_parts.h"
#include "backends/cuda/patterns.h"
#include "ops/add.h"
#include "ops/attention.h"
#include "ops/count_rows.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/route.h"
#include "ops/scatter_add_rows.h"
#include "ops/silu_mul.h"

namespace l2a::cuda {
namespace {

constexpr std::size_t kAlign = 256;

class Lowering : Patterns {
 public:
  Lowering(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
           const DeviceTraits& device, cudaStream_t stream)
      : Patterns(graph, nodes, operands, device), stream_(stream) {}

  Lowered run() {
    for (std::size_t i = 0; i < size();) {
      std::size_t taken = counted_.contains(i) ? 1 : 0;
      if (taken == 0) taken = routed_heads(i);
      if (taken == 0) taken = heads(i, {});
      if (taken == 0) taken = gated(i);
      if (taken == 0) taken = product(i);
      if (taken == 0) taken = norm(i);
      if (taken == 0) taken = alone(i);
      i += taken;
    }
    return std::move(lowered_);
  }

 private:
  // Of a product whose norm is left to it, what comes before the norm.
  Columns columns_of(std::size_t i) const {
    const auto norm = left_norms_.find(in_value(i, Matmul::kX));
    const TensorView& x =
        norm == left_norms_.end() ? in(i, Matmul::kX) : in(norm->second, RmsNorm::kX);
    return {address<float>(x), static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]),
            address<std::int32_t>(in(i, Matmul::kRows))};
  }
  Product product_of(std::size_t i, float* out) const {
    const TensorView& weight = in(i, Matmul::kWeight);
    return {weight.data, static_cast<int>(weight.shape[0]), out};
  }

  void step(std::size_t i, std::function<void(const Scratch&)> run) {
    lowered_.steps.push_back({i, std::move(run)});
  }
  void need_activations(std::int64_t tokens, std::int64_t inner) {
    lowered_.activation_bytes =
        std::max(lowered_.activation_bytes, QuantizedColumns::bytes(tokens, inner));
  }

  // The products of the same activations, those of node i or `other_source`, which are quantized if they are not yet.
  // With `places`, each goes to its place among the heads.
  using Places = std::array<std::size_t, Matvec::kMaxProducts>;  // bytes from the start
  void matvec(std::size_t i, std::span<const Product> products, bool is_gated,
              const std::optional<Places>& places = std::nullopt, const Router& router = {},
              std::optional<std::size_t> other_source = std::nullopt) {
    const std::size_t source = other_source.value_or(i);
    Matvec call;
    call.dtype = in(i, Matmul::kWeight).dtype;
    call.columns = columns_of(source);
    call.preparation.router = router;
    if (const auto norm = left_norms_.find(in_value(source, Matmul::kX));
        norm != left_norms_.end()) {
      call.preparation.norm = address<float>(in(norm->second, RmsNorm::kWeight));
      call.preparation.eps = op<RmsNorm>(norm->second)->eps;
    }
    call.device = device();
    call.stream = stream_;
    call.gated = is_gated;
    call.count = static_cast<int>(products.size());
    std::copy(products.begin(), products.end(), call.products);
    const bool quantized = dtype_info(call.dtype).quantized;
    if (quantized && !prepares(i)) quantize(source);
    step(i, [=](const Scratch& scratch) {
      Matvec matvec = call;
      if (places) {
        for (std::size_t p = 0; p < places->size(); ++p)
          matvec.products[p].out = head_at(scratch, (*places)[p]);
      }
      if (!quantized) return float_matvec(matvec);
      matvec.quantized =
          QuantizedColumns::in(scratch.activations, call.columns.tokens, call.columns.inner);
      quantized_matvec(matvec);
    });
  }
  static float* head_at(const Scratch& scratch, std::size_t place) {
    return reinterpret_cast<float*>(scratch.heads + place);
  }

  void quantize(std::size_t i) {
    const Columns x = columns_of(i);
    if (quantized_ == x.x) return;
    set_quantized(x, x.x);
    need_activations(x.tokens, x.inner);
    step(i, [=, on = device(), stream = stream_](const Scratch& scratch) {
      quantize_columns(x, QuantizedColumns::in(scratch.activations, x.tokens, x.inner), on, stream);
    });
  }
  // Node i may write over what the quantized copy was made of.
  void written(std::size_t i) {
    const TensorView& to = out(i);
    const auto* begin = reinterpret_cast<const std::byte*>(quantized_);
    if (begin < to.data + dtype_bytes(to.dtype, to.shape.elements()) &&
        to.data < begin + quantized_bytes_)
      quantized_ = nullptr;
  }
  void set_quantized(const Columns& x, const float* from) {
    quantized_ = from;
    quantized_bytes_ = static_cast<std::size_t>(x.tokens) * static_cast<std::size_t>(x.inner) * 4;
  }

  CudaCall call_of(std::size_t i) const {
    return {*node(i).op, operands(i).inputs, out(i), device(), stream_};
  }
  // Runs `launch` with what node i's own kernel would be given, scratch included.
  template <class Launch>
  void step_of_call(std::size_t i, Launch launch) {
    const CudaKernel* kernel = find_cuda_kernel(node(i).op->name());
    const CudaCall call = call_of(i);
    if (kernel->workspace_bytes != nullptr) {
      lowered_.general_bytes = std::max(lowered_.general_bytes, kernel->workspace_bytes(call));
    }
    step(i, [=](const Scratch& scratch) {
      launch(CudaCall{call.op, call.inputs, call.output, call.device, call.stream, scratch.general,
                      scratch.counters},
             scratch);
    });
    written(i);
  }
  std::size_t alone(std::size_t i) {
    step_of_call(i, [run = find_cuda_kernel(node(i).op->name())->run](
                        const CudaCall& call, const Scratch&) { run(call); });
    return 1;
  }

  std::size_t norm(std::size_t i) {
    const auto* rms_norm = op<RmsNorm>(i);
    if (rms_norm == nullptr) return 0;
    if (can_leave_norm(i)) {
      left_norms_[out_value(i)] = i;
      return 1;
    }
    const TensorView& x = in(i, RmsNorm::kX);
    if (x.shape.rank() != 2 || x.shape[0] > kMatvecTokens || x.shape[1] % 32 != 0 ||
        x.shape[1] > kMostNormWidth) {
      return 0;
    }
    NormQuantize call;
    call.x = {address<float>(x), static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]),
              address<std::int32_t>(in(i, RmsNorm::kRows))};
    call.weight = address<float>(in(i, RmsNorm::kWeight));
    call.eps = rms_norm->eps;
    call.out = reinterpret_cast<float*>(out(i).data);
    const bool quantizes = read_quantized(i);
    if (quantizes) need_activations(call.x.tokens, call.x.inner);
    step(i, [=, on = device(), stream = stream_](const Scratch& scratch) {
      NormQuantize with_scratch = call;
      if (quantizes) {
        with_scratch.quantized =
            QuantizedColumns::in(scratch.activations, call.x.tokens, call.x.inner);
      }
      norm_quantize(with_scratch, on, stream);
    });
    written(i);
    if (quantizes) set_quantized(call.x, call.out);
    return 1;
  }
  // Whether a quantized product of few tokens reads node i's output.
  bool read_quantized(std::size_t i) const {
    for (std::size_t j = i + 1; j < size(); ++j) {
      if (few(j) && !prepares(j) && in_value(j, Matmul::kX) == out_value(i) &&
          in(j, Matmul::kX).data == out(i).data)
        return dtype_info(in(j, Matmul::kWeight).dtype).quantized;
    }
    return false;
  }

  std::size_t product(std::size_t i) {
    if (!few(i)) return 0;
    const TensorView* to = &out(i);
    Product one = product_of(i, nullptr);
    std::size_t taken = 1;
    if (op<Add>(i + 1) != nullptr) {
      // On either side, but not a bias.
      for (const int side : {Add::kA, Add::kB}) {
        const TensorView& other = in(i + 1, side == Add::kA ? Add::kB : Add::kA);
        if (taken == 1 && feeds_only(i, i + 1, side) && other.shape.rank() == 2 &&
            writes_apart(i, out(i + 1))) {
          one.addend = address<float>(other);
          to = &out(i + 1);
          taken = 2;
        }
      }
    }
    // The only row of a single token, if it is routed.
    if (op<ScatterAddRows>(i + 1) != nullptr && in(i, Matmul::kX).shape[0] == 1 &&
        feeds_only(i, i + 1, ScatterAddRows::kDelta) && writes_apart(i, out(i + 1))) {
      one.addend = address<float>(in(i + 1, ScatterAddRows::kX));
      to = &out(i + 1);
      taken = 2;
    }
    one.out = reinterpret_cast<float*>(to->data);
    matvec(i, {&one, 1}, false);
    written(i + taken - 1);
    return taken;
  }

  std::size_t gated(std::size_t i) {
    const std::size_t up = i + 1, gate = i, silu = i + 2;
    if (!few(gate) || !few(up) || op<SiluMul>(silu) == nullptr ||
        !same_activations(*this, gate, up))
      return 0;
    const TensorView &a = in(gate, Matmul::kWeight), &b = in(up, Matmul::kWeight);
    if (a.dtype != b.dtype || a.shape != b.shape || !feeds_only(gate, silu, SiluMul::kGate) ||
        !feeds_only(up, silu, SiluMul::kUp) || !writes_apart(gate, out(silu))) {
      return 0;
    }
    const Product products[] = {product_of(gate, reinterpret_cast<float*>(out(silu).data)),
                                product_of(up, nullptr)};
    matvec(gate, products, true);
    written(silu);
    return 3;
  }

  std::size_t routed_heads(std::size_t i) {
    const auto routed = match_routed(i);
    if (!routed) return 0;
    return routed->end() - i + heads(routed->end(), *routed);
  }

  std::size_t heads(std::size_t i, const Routed& routed) {
    const auto found = match_heads(i, routed);
    if (!found) return 0;
    const auto *key = &found->key, *value = &found->value;
    const std::optional<ProjectionRun>& query = found->query;
    const std::size_t first = found->append_key, second = found->append_value;
    const TensorView &cache = out(first), &x = in(i, Matmul::kX);
    FinishHeads call;
    call.tokens = static_cast<int>(x.shape[0]);
    call.key_heads = static_cast<int>(cache.shape[1]);
    call.dim = static_cast<int>(cache.shape[2]);
    const std::size_t normed = key->norm != Routed::kNone || !query ? key->norm : query->norm;
    call.eps = normed != Routed::kNone ? op<RmsNorm>(normed)->eps : 0;
    call.table = address<float>(in(key->rope, Rope::kTable));
    call.half = op<Rope>(key->rope)->pairing == RopePairing::half;
    call.positions = address<std::int32_t>(in(first, KvAppend::kPositions));
    call.keys = cache.data;
    call.values = out(second).data;
    call.cache = cache.dtype;
    call.capacity = static_cast<int>(cache.shape[0]);
    call.sinks = static_cast<int>(op<KvAppend>(first)->sinks);
    if (query) {
      call.query_heads = static_cast<int>(out(query->last).shape[1]);
      call.query_out = reinterpret_cast<float*>(out(query->last).data);
    }

    // Where each projection goes among the heads.
    struct Placed {
      const ProjectionRun* projection;
      HeadPart* part;
      std::size_t place = 0;
    };
    std::vector<Placed> parts = {{key, &call.key}, {value, &call.value}};
    if (query) parts.push_back({&*query, &call.query});
    std::size_t used = 0;
    for (Placed& one : parts) {
      const std::size_t bias = one.projection->bias, norm = one.projection->norm;
      if (bias != Routed::kNone) one.part->bias = address<float>(in(bias, Add::kB));
      if (norm != Routed::kNone) one.part->norm = address<float>(in(norm, RmsNorm::kWeight));
      one.place = used;
      const Shape& weight = in(one.projection->matmul, Matmul::kWeight).shape;
      const std::size_t bytes = dtype_bytes(Dtype::f32, call.tokens * weight[0]);
      used += (bytes + kAlign - 1) / kAlign * kAlign;
    }
    lowered_.head_bytes = std::max(lowered_.head_bytes, used);

    // Products of one type go together.
    std::vector<bool> done(parts.size());
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (done[p]) continue;
      const Dtype dtype = in(parts[p].projection->matmul, Matmul::kWeight).dtype;
      std::vector<Product> together;
      Places places{};
      bool asks = false;  // queries come last, and their launch asks the router
      for (std::size_t other = p; other < parts.size(); ++other) {
        const std::size_t matmul = parts[other].projection->matmul;
        if (in(matmul, Matmul::kWeight).dtype != dtype) continue;
        places[together.size()] = parts[other].place;
        together.push_back(product_of(matmul, nullptr));
        done[other] = true;
        asks = routed.there() && parts[other].projection == &*query;
      }
      matvec(parts[p].projection->matmul, together, false, places, asks ? router(routed) : Router{},
             i);
    }
    const std::size_t key_place = parts[0].place, value_place = parts[1].place;
    const std::size_t query_place = query ? parts[2].place : 0;
    const auto finished = [=](const Scratch& scratch) {
      FinishHeads with_scratch = call;
      with_scratch.key.x = head_at(scratch, key_place);
      with_scratch.value.x = head_at(scratch, value_place);
      with_scratch.query.x = head_at(scratch, query_place);
      return with_scratch;
    };
    const std::size_t end = found->end();
    if (attends(end, *found) && finishes_and_attends(call_of(end), call)) {
      step_of_call(end, [=](const CudaCall& attention, const Scratch& scratch) {
        finish_and_attend(attention, finished(scratch));
      });
      return end + 1 - i;
    }
    step(key->last, [=, on = device(), stream = stream_](const Scratch& scratch) {
      finish_heads(finished(scratch), on, stream);
    });
    if (query) written(query->last);
    return end - i;
  }

  // Counting the routed token is left to who routes it.
  Router router(const Routed& routed) {
    const std::size_t i = routed.route;
    Router router;
    if (!left_norms_.contains(in_value(i, Route::kX))) router.x = address<float>(in(i, Route::kX));
    router.weight = address<float>(in(i, Route::kWeight));
    router.bias = address<float>(in(i, Route::kBias));
    router.width = static_cast<int>(in(i, Route::kX).shape[1]);
    router.cut = op<Route>(i)->cut;
    router.spares_last = routed.gathers();
    router.rows = reinterpret_cast<std::int32_t*>(out(i).data);
    for (std::size_t j = i; j < size() && router.tally == nullptr; ++j) {
      const auto* count = op<CountRows>(j);
      if (count == nullptr || in_value(j, CountRows::kRows) != out_value(i)) continue;
      router.tally = reinterpret_cast<std::int32_t*>(out(j).data) + count->index;
      counted_.insert(j);
    }
    return router;
  }

  cudaStream_t stream_;
  std::map<ValueId, std::size_t> left_norms_;  // by output: norms that products compute themselves
  std::set<std::size_t> counted_;              // nodes whose work is done elsewhere
  std::size_t quantized_bytes_ = 0;
  const float* quantized_ = nullptr;  // what Scratch::activations was made of
  Lowered lowered_;
};

}  // namespace

Lowered lower(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
              const DeviceTraits& device, cudaStream_t stream) {
  return Lowering(graph, nodes, operands, device, stream).run();
}

}  // namespace l2a::cuda
