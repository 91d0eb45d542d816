#include "graph/liveness.h"

#include <algorithm>
#include <numeric>

namespace l2a {

Liveness::Liveness(const Graph& graph, const Schedule& schedule)
    : graph_(graph), schedule_(schedule) {
  owner_.resize(graph.values().size());
  std::iota(owner_.begin(), owner_.end(), 0);
  find_last_uses();
  for (std::size_t i = 0; i < graph.values().size(); ++i) keep_input(static_cast<ValueId>(i));
  int tick = 0;
  for (const ScheduleStep& step : schedule.steps) {
    if (step.kind == ScheduleStep::Kind::copy) {
      use(step.value, schedule_.home[static_cast<std::size_t>(step.value)], tick);
      extend({step.value, step.backend}, tick);
      ++tick;
    }
    for (const NodeId node : step.nodes) visit(graph_.node(node), step.backend, tick++);
  }
  for (std::size_t i = 0; i < graph.values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    if (graph.value(id).output) use(graph.root(id), home(graph.root(id)), last_tick_);
  }
}

void Liveness::find_last_uses() {
  last_use_.assign(graph_.values().size(), -1);
  int tick = 0;
  for (const ScheduleStep& step : schedule_.steps) {
    if (step.kind == ScheduleStep::Kind::copy)
      last_use_[static_cast<std::size_t>(step.value)] = tick++;
    for (const NodeId node : step.nodes) {
      for (const ValueId input : graph_.node(node).inputs) {
        if (input != kNoValue) last_use_[static_cast<std::size_t>(graph_.root(input))] = tick;
      }
      ++tick;
    }
  }
  last_tick_ = tick;
  for (std::size_t i = 0; i < graph_.values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    if (graph_.value(id).output) last_use_[static_cast<std::size_t>(graph_.root(id))] = last_tick_;
  }
}

void Liveness::keep_input(ValueId id) {
  if (graph_.value(id).kind != ValueKind::input || home(id) < 0) return;
  extend({id, home(id)}, 0);
  extend({id, home(id)}, last_tick_);
}

void Liveness::extend(std::pair<ValueId, int> key, int tick) {
  auto [entry, fresh] = lives_.try_emplace(key, Lifetime{graph_.root_bytes(key.first), tick, tick});
  if (!fresh) {
    entry->second.first = std::min(entry->second.first, tick);
    entry->second.last = std::max(entry->second.last, tick);
  }
}

void Liveness::use(ValueId root, int backend, int tick) {
  if (graph_.value(root).buffer && backend == home(root))
    return;  // weights and states have their own memory
  const std::pair<ValueId, int> copy{root, backend};
  if (backend != home(root) && lives_.contains(copy)) {
    extend(copy, tick);
  } else if (!graph_.value(root).buffer) {
    extend({owner(root), home(root)}, tick);
  }
}

void Liveness::visit(const Node& node, int backend, int tick) {
  for (const ValueId input : node.inputs) {
    if (input != kNoValue) use(graph_.root(input), backend, tick);
  }
  const ValueId root = graph_.root(node.output);
  if (graph_.value(root).buffer) return;
  const ValueId target = in_place_target(node, backend, tick);
  if (target != kNoValue) owner_[static_cast<std::size_t>(root)] = owner(target);
  extend({owner(root), backend}, tick);
}

ValueId Liveness::in_place_target(const Node& node, int backend, int tick) const {
  const Aliasing aliasing = node.op->aliasing();
  if (aliasing.kind != Aliasing::Kind::in_place) return kNoValue;
  const ValueId input = node.inputs[static_cast<std::size_t>(aliasing.input)];
  const ValueId root = graph_.root(input);
  const Value& value = graph_.value(root);
  const bool whole =
      graph_.root_offset(input) == 0 && graph_.root_bytes(root) == graph_.root_bytes(node.output);
  if (value.kind != ValueKind::computed || value.buffer || home(root) != backend || !whole)
    return kNoValue;
  return last_use_[static_cast<std::size_t>(root)] == tick ? root : kNoValue;
}

}  // namespace l2a
