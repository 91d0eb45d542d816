#include "backends/cpu/cpu_backend.h"

#include <algorithm>

#include "backends/cpu/kernel.h"
#include "backends/cpu/limits.h"
#include "backends/cpu/lowering.h"
#include "graph/error.h"
#include "graph/host_memory.h"
#include "graph/stopwatch.h"
#include "graph/thread_pool.h"

namespace l2a {
namespace {

constexpr int kMaxThreads = 1024;

class CpuExecutable final : public Executable {
 public:
  CpuExecutable(std::shared_ptr<const Graph> graph, std::span<const NodeId> nodes,
                std::span<const Binding> bindings, Backend& backend, ThreadPool& pool,
                const SimdKernels& simd)
      : graph_(std::move(graph)) {
    operands_.reserve(nodes.size());
    for (const NodeId id : nodes)
      operands_.push_back(host_operands(*graph_, graph_->node(id), bindings));
    cpu::Lowered lowered = cpu::lower(*graph_, nodes, operands_, pool, simd);
    steps_ = std::move(lowered.steps);
    constexpr std::size_t kAlign = 64;
    const std::size_t heads = (lowered.general_bytes + kAlign - 1) / kAlign * kAlign;
    if (heads + lowered.head_bytes == 0) return;
    workspace_ = backend.allocate(heads + lowered.head_bytes);
    scratch_ = {workspace_->host(), workspace_->host() + heads};
  }

  void run() override {
    for (const cpu::Step& step : steps_) step.run(scratch_);
  }
  void run_timed(std::span<double> seconds) override {
    for (const cpu::Step& step : steps_)
      seconds[step.node] += seconds_of([&] { step.run(scratch_); });
  }

 private:
  std::shared_ptr<const Graph> graph_;
  std::vector<Operands> operands_;  // what the steps refer to; never grows after construction
  std::vector<cpu::Step> steps_;
  std::shared_ptr<Buffer> workspace_;
  cpu::Scratch scratch_;  // parts of it
};

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(const CpuOptions& options, SimdLevel level)
      : pool_(options.threads, options.pin), simd_(simd_kernels(level)) {}

  std::string_view name() const override { return "cpu"; }
  bool supports(const Graph& /*graph*/, const Node& node) const override {
    return find_cpu_kernel(node.op->name()) != nullptr;
  }
  Limits measure_limits() override { return measure_cpu_limits(pool_, simd_.level); }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    return std::make_unique<CpuExecutable>(graph, nodes, bindings, *this, pool_, simd_);
  }

 private:
  ThreadPool pool_;
  const SimdKernels& simd_;
};

}  // namespace

std::shared_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    throw Error(
        concat("the CPU backend takes 1 to ", kMaxThreads, " threads, not ", options.threads));
  }
  const SimdLevel level = options.level.value_or(best_simd_level());
  const auto available = simd_levels();
  if (std::find(available.begin(), available.end(), level) == available.end()) {
    throw Error(concat("this machine has no ", simd_level_name(level), " instructions"));
  }
  return std::make_shared<CpuBackend>(options, level);
}

}  // namespace l2a
