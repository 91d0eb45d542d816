#include "graph/scheduler.h"

#include <set>

#include "graph/error.h"

namespace l2a {
namespace {

class Scheduler {
 public:
  Scheduler(const Graph& graph, std::span<const std::shared_ptr<Backend>> backends)
      : graph_(graph), backends_(backends) {
    schedule_.node_backend.resize(graph.nodes().size());
    schedule_.home.assign(graph.values().size(), -1);
  }

  Schedule run() {
    for (std::size_t i = 0; i < graph_.nodes().size(); ++i) place(static_cast<NodeId>(i));
    // What is only read back, without a node that touches it, lives somewhere too.
    for (const Value& value : graph_.values()) {
      if (!value.output) continue;
      const ValueId root = graph_.root(value.info.id);
      settle_leaf(root);
      if (home(root) < 0) home(root) = 0;
    }
    return std::move(schedule_);
  }

 private:
  int& home(ValueId root) { return schedule_.home[static_cast<std::size_t>(root)]; }
  const Backend& backend(int index) const { return *backends_[static_cast<std::size_t>(index)]; }

  int index_of(const Buffer& buffer, const std::string& name) const {
    for (std::size_t i = 0; i < backends_.size(); ++i) {
      if (backends_[i].get() == &buffer.backend()) return static_cast<int>(i);
    }
    throw Error(concat(name, " lives on the ", buffer.backend().name(),
                       " backend, which this plan was not given"));
  }

  void settle_leaf(ValueId root) {
    const Value& value = graph_.value(root);
    if (home(root) < 0 && value.buffer) home(root) = index_of(*value.buffer, value.name);
  }

  int preferred(const Node& node) {
    int best = -1;
    std::size_t best_bytes = 0;
    int computed = last_;
    NodeId latest = kNoNode;
    for (const ValueId input : node.inputs) {
      if (input == kNoValue) continue;
      const ValueId root = graph_.root(input);
      settle_leaf(root);
      if (graph_.value(root).buffer) {
        if (best < 0 || graph_.root_bytes(root) > best_bytes) {
          best = home(root);
          best_bytes = graph_.root_bytes(root);
        }
      } else if (graph_.value(root).producer > latest) {
        computed = home(root);
        latest = graph_.value(root).producer;
      }
    }
    return best >= 0 ? best : computed;
  }

  int choose(NodeId id) {
    const Node& node = graph_.node(id);
    const Aliasing aliasing = node.op->aliasing();
    if (aliasing.kind == Aliasing::Kind::mutates) {
      const ValueId root = graph_.root(node.output);
      settle_leaf(root);
      if (!backend(home(root)).supports(graph_, node)) {
        throw Error(concat("the ", backend(home(root)).name(), " backend holds ",
                           graph_.value(root).name, " but does not support ", node.op->name(),
                           " on it"));
      }
      return home(root);
    }
    const int wanted = preferred(node);
    if (backend(wanted).supports(graph_, node)) return wanted;
    schedule_.fallbacks.push_back(id);
    for (std::size_t i = 0; i < backends_.size(); ++i) {
      if (backends_[i]->supports(graph_, node)) return static_cast<int>(i);
    }
    throw Error(
        concat("no backend supports ", node.op->name(), " (", graph_.value(node.output).name, ")"));
  }

  void bring(ValueId root, int to) {
    if (home(root) < 0) home(root) = to;  // an input: its first reader holds it
    if (home(root) == to || shares_memory(backend(home(root)), backend(to))) return;
    if (!replicas_.insert({root, to}).second) return;
    schedule_.steps.push_back({ScheduleStep::Kind::copy, to, {}, root});
  }

  void place(NodeId id) {
    const Node& node = graph_.node(id);
    const int where = choose(id);
    schedule_.node_backend[static_cast<std::size_t>(id)] = where;
    last_ = where;
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) bring(graph_.root(input), where);
    }
    const ValueId root = graph_.root(node.output);
    home(root) = where;
    if (node.op->aliasing().kind == Aliasing::Kind::mutates) {
      std::erase_if(replicas_, [&](const auto& replica) { return replica.first == root; });
    }
    if (schedule_.steps.empty() || schedule_.steps.back().kind != ScheduleStep::Kind::run ||
        schedule_.steps.back().backend != where) {
      schedule_.steps.push_back({ScheduleStep::Kind::run, where, {}, kNoValue});
    }
    schedule_.steps.back().nodes.push_back(id);
  }

  const Graph& graph_;
  std::span<const std::shared_ptr<Backend>> backends_;
  Schedule schedule_;
  int last_ = 0;                                // where the node before ran
  std::set<std::pair<ValueId, int>> replicas_;  // copies that are current
};

}  // namespace

bool shares_memory(const Backend& a, const Backend& b) {
  return &a == &b || (a.uses_host_memory() && b.uses_host_memory());
}

Schedule make_schedule(const Graph& graph, std::span<const std::shared_ptr<Backend>> backends) {
  if (backends.empty()) throw Error("a plan needs at least one backend");
  return Scheduler(graph, backends).run();
}

}  // namespace l2a
