#include "graph/plan.h"

#include <algorithm>
#include <cstring>
#include <iomanip>
#include <map>
#include <numeric>

#include "graph/error.h"
#include "graph/planner.h"

namespace l2a {
namespace {

// Cache lines, and what every device's vector loads want.
constexpr std::size_t kArenaAlignment = 256;

// The lives of the pieces of memory that a schedule needs, before they are placed.
class Liveness {
 public:
  Liveness(const Graph& graph, const Schedule& schedule) : graph_(graph), schedule_(schedule) {
    owner_.resize(graph.values().size());
    std::iota(owner_.begin(), owner_.end(), 0);
    count_ticks();
    for (std::size_t i = 0; i < graph.values().size(); ++i) start_input(static_cast<ValueId>(i));
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

  // (root, backend) -> life; the root's own memory under its home, copies under theirs.
  const std::map<std::pair<ValueId, int>, Lifetime>& lives() const { return lives_; }
  // The root whose memory a root uses: another one's where an op works in place.
  ValueId owner(ValueId root) const { return owner_[static_cast<std::size_t>(root)]; }

 private:
  int home(ValueId root) const { return schedule_.home[static_cast<std::size_t>(root)]; }

  void count_ticks() {
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
      if (graph_.value(id).output)
        last_use_[static_cast<std::size_t>(graph_.root(id))] = last_tick_;
    }
  }

  // Inputs are written before a run and must survive it, since the next run may leave them as they
  // are.
  void start_input(ValueId id) {
    if (graph_.value(id).kind != ValueKind::input || home(id) < 0) return;
    extend({id, home(id)}, 0);
    extend({id, home(id)}, last_tick_);
  }

  void extend(std::pair<ValueId, int> key, int tick) {
    auto [entry, fresh] =
        lives_.try_emplace(key, Lifetime{graph_.root_bytes(key.first), tick, tick});
    if (!fresh) {
      entry->second.first = std::min(entry->second.first, tick);
      entry->second.last = std::max(entry->second.last, tick);
    }
  }

  // Notes that `root` is needed on `backend` at `tick`, in its own memory there or as a copy.
  void use(ValueId root, int backend, int tick) {
    if (graph_.value(root).buffer && backend == home(root))
      return;  // weights and states have their own memory
    const std::pair<ValueId, int> copy{root, backend};
    if (backend != home(root) && lives_.contains(copy)) {
      extend(copy, tick);
    } else if (!graph_.value(root).buffer) {
      extend({owner(root), home(root)}, tick);
    }
  }

  void visit(const Node& node, int backend, int tick) {
    for (const ValueId input : node.inputs) {
      if (input != kNoValue) use(graph_.root(input), backend, tick);
    }
    const ValueId root = graph_.root(node.output);
    if (graph_.value(root).buffer) return;
    const ValueId target = in_place_target(node, backend, tick);
    if (target != kNoValue) owner_[static_cast<std::size_t>(root)] = owner(target);
    extend({owner(root), backend}, tick);
  }

  ValueId in_place_target(const Node& node, int backend, int tick) const {
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

  const Graph& graph_;
  const Schedule& schedule_;
  std::map<std::pair<ValueId, int>, Lifetime> lives_;
  std::vector<ValueId> owner_;
  std::vector<int> last_use_;
  int last_tick_ = 0;
};

std::string format_bytes(double bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(bytes < 1024 * 1024 ? 1 : 2);
  if (bytes < 1024 * 1024) {
    out << bytes / 1024 << " KiB";
  } else {
    out << bytes / (1024 * 1024) << " MiB";
  }
  return out.str();
}

std::string dot_label(const std::string& text) {
  std::ostringstream out;
  out << std::quoted(text);
  return out.str();
}

}  // namespace

Plan::Plan(std::shared_ptr<const Graph> graph, std::vector<std::shared_ptr<Backend>> backends)
    : graph_(std::move(graph)),
      backends_(std::move(backends)),
      schedule_(make_schedule(*graph_, backends_)) {
  plan_memory();
  compile();
}

void Plan::plan_memory() {
  const Liveness liveness(*graph_, schedule_);
  bindings_.assign(backends_.size(), std::vector<Binding>(graph_->values().size()));
  arenas_.resize(backends_.size());
  for (std::size_t b = 0; b < backends_.size(); ++b) {
    std::vector<ValueId> roots;
    std::vector<Lifetime> lifetimes;
    for (const auto& [key, life] : liveness.lives()) {
      if (key.second != static_cast<int>(b)) continue;
      roots.push_back(key.first);
      lifetimes.push_back(life);
      bytes_without_reuse_ += life.bytes;
    }
    if (roots.empty()) continue;
    const ArenaLayout layout = plan_arena(lifetimes, kArenaAlignment);
    arenas_[b] = backends_[b]->allocate(layout.bytes);
    for (std::size_t i = 0; i < roots.size(); ++i) {
      bindings_[b][static_cast<std::size_t>(roots[i])] = {arenas_[b].get(), layout.offsets[i]};
    }
  }
  // What an op made in place lives with its owner; weights and states in their buffers; and what
  // lives on a backend whose memory is shared is bound where it is.
  for (std::size_t i = 0; i < graph_->values().size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    const int home = schedule_.home[i];
    if (graph_->root(id) != id || home < 0) continue;
    Binding& own = bindings_[static_cast<std::size_t>(home)][i];
    const Value& value = graph_->value(id);
    if (value.buffer) {
      own = {value.buffer.get(), value.buffer_offset};
    } else if (liveness.owner(id) != id) {
      own = bindings_[static_cast<std::size_t>(home)][static_cast<std::size_t>(liveness.owner(id))];
    }
    for (std::size_t b = 0; b < backends_.size(); ++b) {
      const bool shared = shares_memory(*backends_[static_cast<std::size_t>(home)], *backends_[b]);
      if (static_cast<int>(b) != home && shared) bindings_[b][i] = own;
    }
  }
}

void Plan::compile() {
  std::size_t staging_bytes = 0;
  for (const ScheduleStep& step : schedule_.steps) {
    RunStep run;
    if (step.kind == ScheduleStep::Kind::copy) {
      run.copied = step.value;
      run.to = step.backend;
      staging_bytes = std::max(staging_bytes, graph_->root_bytes(step.value));
    } else {
      const auto b = static_cast<std::size_t>(step.backend);
      run.executable = backends_[b]->compile(graph_, step.nodes, bindings_[b]);
    }
    steps_.push_back(std::move(run));
  }
  staging_.resize(staging_bytes);
}

void Plan::run() {
  for (const RunStep& step : steps_) {
    if (step.executable) {
      step.executable->run();
      continue;
    }
    const auto root = static_cast<std::size_t>(step.copied);
    const Binding& from = bindings_[static_cast<std::size_t>(schedule_.home[root])][root];
    const Binding& to = bindings_[static_cast<std::size_t>(step.to)][root];
    const std::span<std::byte> bytes(staging_.data(), graph_->root_bytes(step.copied));
    from.buffer->download(from.offset, bytes);
    to.buffer->upload(to.offset, bytes);
  }
}

void Plan::write(Tensor input, std::span<const std::byte> bytes) {
  const Value& value = graph_->value(input.id);
  if (value.kind != ValueKind::input)
    throw Error(concat(value.name, " is not an input of this plan"));
  if (bytes.size() != graph_->root_bytes(input.id)) {
    throw Error(concat("input ", value.name, " takes ", graph_->root_bytes(input.id),
                       " bytes, not ", bytes.size()));
  }
  const int home = schedule_.home[static_cast<std::size_t>(input.id)];
  if (home < 0) return;
  const Binding& binding =
      bindings_[static_cast<std::size_t>(home)][static_cast<std::size_t>(input.id)];
  binding.buffer->upload(binding.offset, bytes);
}

void Plan::read(Tensor output, std::span<std::byte> bytes) const {
  const Value& value = graph_->value(output.id);
  if (!value.output) throw Error(concat(value.name, " is not an output of this plan"));
  const std::size_t size = dtype_bytes(value.info.dtype, value.info.shape.elements());
  if (bytes.size() != size) {
    throw Error(concat("output ", value.name, " has ", size, " bytes, not ", bytes.size()));
  }
  const auto root = static_cast<std::size_t>(graph_->root(output.id));
  const Binding& binding = bindings_[static_cast<std::size_t>(schedule_.home[root])][root];
  binding.buffer->download(binding.offset + graph_->root_offset(output.id), bytes);
}

std::size_t Plan::arena_bytes(int backend) const {
  const auto& arena = arenas_[static_cast<std::size_t>(backend)];
  return arena ? arena->bytes() : 0;
}

std::size_t Plan::arena_bytes() const {
  std::size_t bytes = 0;
  for (std::size_t b = 0; b < arenas_.size(); ++b) bytes += arena_bytes(static_cast<int>(b));
  return bytes;
}

std::size_t Plan::arena_bytes_without_reuse() const { return bytes_without_reuse_; }

void Plan::poison() {
  for (const auto& arena : arenas_) {
    if (!arena) continue;
    const std::vector<std::byte> pattern(arena->bytes(), std::byte{0xff});
    arena->upload(0, pattern);
  }
}

std::string Plan::describe(const CostHints& hints) const {
  std::ostringstream out;
  const Cost cost = graph_->cost(hints);
  out << graph_->nodes().size() << " nodes in " << schedule_.steps.size() << " steps, "
      << cost.operations / 1e9 << " Gop and " << format_bytes(cost.bytes) << " a run\n";
  for (std::size_t b = 0; b < backends_.size(); ++b) {
    out << "arena of " << backends_[b]->name() << ": "
        << format_bytes(static_cast<double>(arena_bytes(static_cast<int>(b)))) << "\n";
  }
  out << "without reuse: " << format_bytes(static_cast<double>(bytes_without_reuse_)) << "\n";
  for (const NodeId id : schedule_.fallbacks) {
    out << "fell back: " << graph_->value(graph_->node(id).output).name << " to "
        << backends_[static_cast<std::size_t>(schedule_.node_backend[static_cast<std::size_t>(id)])]
               ->name()
        << "\n";
  }
  for (const ScheduleStep& step : schedule_.steps) {
    const std::string_view where = backends_[static_cast<std::size_t>(step.backend)]->name();
    if (step.kind == ScheduleStep::Kind::copy) {
      out << "copy " << graph_->value(step.value).name << " to " << where << "\n";
    }
    for (const NodeId id : step.nodes) {
      const Node& node = graph_->node(id);
      const Value& result = graph_->value(node.output);
      out << std::setw(5) << id << " " << where << " " << std::left << std::setw(17)
          << node.op->name() << std::right << result.name << " " << result.info.dtype << " "
          << result.info.shape << (result.info.compact() ? " compact" : "") << " <-";
      for (const ValueId input : node.inputs) {
        out << " " << (input == kNoValue ? std::string("-") : graph_->value(input).name);
      }
      out << "\n";
    }
  }
  return out.str();
}

std::string Plan::dot() const {
  static constexpr std::array<std::string_view, 4> kColours = {"lightblue", "lightgreen", "khaki",
                                                               "lightpink"};
  std::ostringstream out;
  out << "digraph plan {\n  node [shape=box, style=filled];\n";
  std::vector<bool> drawn(graph_->values().size(), false);
  auto leaf = [&](ValueId root) {
    if (graph_->value(root).producer != kNoNode || drawn[static_cast<std::size_t>(root)]) return;
    drawn[static_cast<std::size_t>(root)] = true;
    const Value& value = graph_->value(root);
    out << "  v" << root << " [shape=ellipse, fillcolor=white, label="
        << dot_label(concat(value.name, " ", value.info.dtype, " ", value.info.shape)) << "];\n";
  };
  // The node or leaf that last wrote the memory of a value: follows views, stops at an update of a
  // state.
  auto source = [&](ValueId id) {
    while (graph_->value(id).producer == kNoNode && graph_->value(id).base != kNoValue)
      id = graph_->value(id).base;
    return id;
  };
  for (std::size_t i = 0; i < graph_->nodes().size(); ++i) {
    const Node& node = graph_->nodes()[i];
    const Value& result = graph_->value(node.output);
    const auto colour = static_cast<std::size_t>(schedule_.node_backend[i]) % kColours.size();
    out << "  v" << node.output << " [fillcolor=" << kColours[colour] << ", label="
        << dot_label(concat(node.op->name(), " ", result.name, " ", result.info.shape)) << "];\n";
    for (const ValueId input : node.inputs) {
      if (input == kNoValue) continue;
      leaf(source(input));
      out << "  v" << source(input) << " -> v" << node.output << ";\n";
    }
  }
  out << "}\n";
  return out.str();
}

}  // namespace l2a
