#include "graph/plan.h"

#include <algorithm>

#include "graph/error.h"
#include "graph/liveness.h"
#include "graph/planner.h"
#include "graph/stopwatch.h"

namespace l2a {
namespace {

// Cache lines, and what every device's vector loads want.
constexpr std::size_t kArenaAlignment = 256;

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
    } else {
      copy(step);
    }
  }
}

void Plan::run(PlanTimes& times) {
  times.nodes.resize(graph_->nodes().size());
  std::vector<double> seconds;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const RunStep& step = steps_[i];
    if (!step.executable) {
      times.copies += seconds_of([&] { copy(step); });
      continue;
    }
    const std::vector<NodeId>& nodes = schedule_.steps[i].nodes;
    seconds.assign(nodes.size(), 0);
    step.executable->run_timed(seconds);
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      times.nodes[static_cast<std::size_t>(nodes[n])] += seconds[n];
    }
  }
}

void Plan::copy(const RunStep& step) {
  const auto root = static_cast<std::size_t>(step.copied);
  const Binding& from = bindings_[static_cast<std::size_t>(schedule_.home[root])][root];
  const Binding& to = bindings_[static_cast<std::size_t>(step.to)][root];
  const std::span<std::byte> bytes(staging_.data(), graph_->root_bytes(step.copied));
  from.buffer->download(from.offset, bytes);
  to.buffer->upload(to.offset, bytes);
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

}  // namespace l2a
