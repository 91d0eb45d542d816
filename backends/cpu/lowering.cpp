#include "backends/cpu/lowering.h"

#include <algorithm>
#include <optional>

#include "backends/cpu/finish_heads.h"
#include "backends/cpu/products.h"
#include "graph/node_run.h"
#include "ops/add.h"
#include "ops/head_runs.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/silu_mul.h"

namespace l2a::cpu {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kNone = ProjectionRun::kNone;

const float* values(const TensorView& view) { return view.row<const float>(0); }

class Lowering : NodeRun {
 public:
  Lowering(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
           ThreadPool& pool, const SimdKernels& simd)
      : NodeRun(graph, nodes, operands), pool_(pool), simd_(simd) {}

  Lowered run() {
    for (std::size_t i = 0; i < size();) {
      std::size_t taken = 0;
      if (op<RmsNorm>(i) != nullptr) {
        taken = joined(i + 1, i);
        if (taken > 0) ++taken;
      }
      if (taken == 0) taken = joined(i, kNone);
      if (taken == 0) taken = alone(i);
      i += taken;
    }
    return std::move(lowered_);
  }

 private:
  // How many nodes, from i on, were joined; with `norm`, the node before them, only if it was joined too.
  std::size_t joined(std::size_t i, std::size_t norm) {
    std::size_t taken = heads(i, norm);
    if (taken == 0) taken = gated(i, norm);
    if (taken == 0) taken = product(i, norm);
    return taken;
  }

  void step(std::size_t i, std::function<void(const Scratch&)> run) {
    lowered_.steps.push_back({i, std::move(run)});
  }

  std::size_t alone(std::size_t i) {
    const CpuKernel* kernel = find_cpu_kernel(node(i).op->name());
    const CpuCall call{*node(i).op, operands(i).inputs, out(i), pool_, simd_};
    if (kernel->workspace_bytes != nullptr)
      lowered_.general_bytes = std::max(lowered_.general_bytes, kernel->workspace_bytes(call));
    step(i, [call, run = kernel->run](const Scratch& scratch) {
      CpuCall with_scratch = call;
      with_scratch.workspace = scratch.general;
      run(with_scratch);
    });
    return 1;
  }

  // The products of these matmuls, all of the same activations, with the norm before them; none if they cannot be one
  // call, or if the norm cannot be left to them.
  std::optional<Products> products(const std::vector<std::size_t>& matmuls, std::size_t norm) {
    const std::size_t first = matmuls.front();
    Products call;
    call.x = in(first, Matmul::kX);
    call.rows = in(first, Matmul::kRows);
    call.count = static_cast<int>(matmuls.size());
    std::size_t place = 0;
    for (const std::size_t i : matmuls) {
      if (!products_fit(simd_, in(first, Matmul::kWeight), in(i, Matmul::kWeight)))
        return std::nullopt;
      call.each[place++] = {in(i, Matmul::kWeight), out(i)};
    }
    if (norm == kNone) return call;
    const TensorView& x = in(norm, RmsNorm::kX);
    const bool all = std::all_of(matmuls.begin(), matmuls.end(), [&](std::size_t i) {
      return in_value(i, Matmul::kX) == out_value(norm) &&
             in_value(i, Matmul::kRows) == in_value(norm, RmsNorm::kRows);
    });
    if (!all || readers(norm) != call.count || x.shape != call.x.shape ||
        x.shape.back() > kMostNormed || !products_copy(call.each[0].weight))
      return std::nullopt;
    call.x = x;
    call.norm = values(in(norm, RmsNorm::kWeight));
    call.eps = op<RmsNorm>(norm)->eps;
    return call;
  }
  // Whether a call may write to memory that a matmul alone would not: its activations must not lie there, unless it
  // copies them first.
  static bool may_write(const Products& call, const TensorView& to) {
    return products_copy(call.each[0].weight) || !overlap(call.x, to);
  }

  void multiply(std::size_t i, const Products& call) {
    need_products(call);
    step(i, [call, &pool = pool_, &simd = simd_](const Scratch& scratch) {
      run_products(call, pool, simd, scratch.general);
    });
  }
  void need_products(const Products& call) {
    lowered_.general_bytes = std::max(lowered_.general_bytes, products_bytes(call, pool_, simd_));
  }

  std::size_t product(std::size_t i, std::size_t norm) {
    if (op<Matmul>(i) == nullptr) return 0;
    auto call = products({i}, norm);
    if (!call) return 0;
    std::size_t taken = 1;
    // A sum with what lies where the sum goes.
    const auto* add = op<Add>(i + 1);
    if (add != nullptr && feeds_only(i, i + 1, Add::kB) && in(i + 1, Add::kB).shape.rank() == 2 &&
        in(i + 1, Add::kA).data == out(i + 1).data &&
        in_value(i + 1, Add::kRows) == in_value(i, Matmul::kRows) && may_write(*call, out(i + 1))) {
      call->each[0].out = out(i + 1);
      call->adds = true;
      taken = 2;
    } else if (norm == kNone) {
      return 0;
    }
    multiply(i, *call);
    return taken;
  }

  std::size_t gated(std::size_t i, std::size_t norm) {
    const std::size_t up = i + 1, silu = i + 2;
    if (op<Matmul>(i) == nullptr || op<Matmul>(up) == nullptr || op<SiluMul>(silu) == nullptr ||
        !same_activations(*this, i, up) || !feeds_only(i, silu, SiluMul::kGate) ||
        !feeds_only(up, silu, SiluMul::kUp))
      return 0;
    auto call = products({i, up}, norm);
    if (!call || !may_write(*call, out(silu))) return 0;
    call->gated = out(silu);
    multiply(i, *call);
    return 3;
  }

  HeadPart part_of(const ProjectionRun& run, const TensorView& to, bool appends) const {
    HeadPart part;
    part.to = to;
    part.appends = appends;
    if (run.bias != kNone) part.bias = values(in(run.bias, Add::kB));
    if (run.norm != kNone) {
      part.norm = values(in(run.norm, RmsNorm::kWeight));
      part.eps = op<RmsNorm>(run.norm)->eps;
    }
    part.turns = run.rope != kNone;
    return part;
  }

  std::size_t heads(std::size_t i, std::size_t norm) {
    const auto found = match_heads(*this, i);
    if (!found) return 0;
    std::vector<std::size_t> matmuls = {found->key.matmul, found->value.matmul};
    if (found->query) matmuls.push_back(found->query->matmul);
    const auto call = products(matmuls, norm);
    if (!call) return 0;
    const std::size_t append = found->append_key;
    FinishHeads finish;
    finish.table = in(found->key.rope, Rope::kTable);
    finish.positions = in(append, KvAppend::kPositions);
    finish.pairing = op<Rope>(found->key.rope)->pairing;
    finish.sinks = op<KvAppend>(append)->sinks;
    finish.count = call->count;
    finish.parts[0] = part_of(found->key, out(append), true);
    finish.parts[1] = part_of(found->value, out(found->append_value), true);
    if (found->query) finish.parts[2] = part_of(*found->query, out(found->query->last), false);

    // To memory of our own: what lies between nodes may share its memory.
    std::array<std::size_t, 3> places{};
    std::size_t used = 0;
    for (std::size_t p = 0; p < matmuls.size(); ++p) {
      finish.parts[p].x = call->each[p].out;
      finish.parts[p].x.strides = contiguous_strides(Dtype::f32, finish.parts[p].x.shape);
      places[p] = used;
      used += (dtype_bytes(Dtype::f32, finish.parts[p].x.shape.elements()) + kAlign - 1) / kAlign *
              kAlign;
    }
    lowered_.head_bytes = std::max(lowered_.head_bytes, used);
    const auto placed = [finish, places](const Scratch& scratch) {
      FinishHeads heads = finish;
      for (std::size_t p = 0; p < places.size(); ++p)
        heads.parts[p].x.data = scratch.heads + places[p];
      return heads;
    };
    need_products(*call);
    step(i, [call = *call, placed, &pool = pool_, &simd = simd_](const Scratch& scratch) {
      Products products = call;
      const FinishHeads heads = placed(scratch);
      for (std::size_t p = 0; p < heads.parts.size(); ++p) products.each[p].out = heads.parts[p].x;
      run_products(products, pool, simd, scratch.general);
    });
    step(found->key.last, [placed, &pool = pool_, &simd = simd_](const Scratch& scratch) {
      finish_heads(placed(scratch), pool, simd);
    });
    return found->end() - i;
  }

  ThreadPool& pool_;
  const SimdKernels& simd_;
  Lowered lowered_;
};

}  // namespace

Lowered lower(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
              ThreadPool& pool, const SimdKernels& simd) {
  return Lowering(graph, nodes, operands, pool, simd).run();
}

}  // namespace l2a::cpu
