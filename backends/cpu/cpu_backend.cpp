#include "backends/cpu/cpu_backend.h"

#include <algorithm>

#include "backends/cpu/kernel.h"
#include "backends/cpu/limits.h"
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
    std::size_t workspace = 0;
    for (const NodeId id : nodes) {
      const Node& node = graph_->node(id);
      const CpuKernel* kernel = find_cpu_kernel(node.op->name());
      operands_.push_back(host_operands(*graph_, node, bindings));
      const Operands& operands = operands_.back();
      calls_.push_back({kernel->run, {*node.op, operands.inputs, operands.output, pool, simd}});
      if (kernel->workspace_bytes != nullptr) {
        workspace = std::max(workspace, kernel->workspace_bytes(calls_.back().call));
      }
    }
    if (workspace == 0) return;
    workspace_ = backend.allocate(workspace);
    for (Step& step : calls_) step.call.workspace = workspace_->host();
  }

  void run() override {
    for (const Step& step : calls_) step.run(step.call);
  }
  void run_timed(std::span<double> seconds) override {
    for (std::size_t i = 0; i < calls_.size(); ++i)
      seconds[i] += seconds_of([&] { calls_[i].run(calls_[i].call); });
  }

 private:
  struct Step {
    void (*run)(const CpuCall&);
    CpuCall call;
  };
  std::shared_ptr<const Graph> graph_;
  std::vector<Operands>
      operands_;  // what the calls' spans refer to; never grows after construction
  std::vector<Step> calls_;
  std::shared_ptr<Buffer> workspace_;
};

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(int threads, SimdLevel level) : pool_(threads), simd_(simd_kernels(level)) {}

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
  return std::make_shared<CpuBackend>(options.threads, level);
}

}  // namespace l2a
