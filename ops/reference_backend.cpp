#include "ops/reference_backend.h"

#include "graph/host_memory.h"

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
    for (const Call& call : calls_) call.op->reference(call.operands.inputs, call.operands.output);
  }

 private:
  struct Call {
    const Op* op;
    HostOperands operands;
  };
  std::shared_ptr<const Graph> graph_;
  std::vector<Call> calls_;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  bool uses_host_memory() const override { return true; }
  bool supports(const Graph& /*graph*/, const Node& /*node*/) const override { return true; }
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    return allocate_host(*this, bytes);
  }
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> owner) override {
    return import_host(*this, bytes, std::move(owner));
  }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    return std::make_unique<ReferenceExecutable>(graph, nodes, bindings);
  }
};

}  // namespace

std::shared_ptr<Backend> make_reference_backend() { return std::make_shared<ReferenceBackend>(); }

}  // namespace l2a
