#include "ops/reference_backend.h"

#include "graph/host_memory.h"
#include "graph/stopwatch.h"

namespace l2a {
namespace {

class ReferenceExecutable final : public Executable {
 public:
  ReferenceExecutable(std::shared_ptr<const Graph> graph, std::span<const NodeId> nodes,
                      std::span<const Binding> bindings)
      : graph_(std::move(graph)) {
    for (const NodeId id : nodes) {
      calls_.push_back(
          {graph_->node(id).op.get(), host_operands(*graph_, graph_->node(id), bindings)});
    }
  }

  void run() override {
    for (const Call& call : calls_) call.run();
  }
  void run_timed(std::span<double> seconds) override {
    for (std::size_t i = 0; i < calls_.size(); ++i)
      seconds[i] += seconds_of([&] { calls_[i].run(); });
  }

 private:
  struct Call {
    const Op* op;
    Operands operands;

    void run() const { op->reference(operands.inputs, operands.output); }
  };
  std::shared_ptr<const Graph> graph_;
  std::vector<Call> calls_;
};

class ReferenceBackend final : public HostBackend {
 public:
  std::string_view name() const override { return "reference"; }
  bool supports(const Graph& /*graph*/, const Node& /*node*/) const override { return true; }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    return std::make_unique<ReferenceExecutable>(graph, nodes, bindings);
  }
};

}  // namespace

std::shared_ptr<Backend> make_reference_backend() { return std::make_shared<ReferenceBackend>(); }

}  // namespace l2a
