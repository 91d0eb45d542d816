// How a plan shows itself: as a list of nodes and as a drawing.
#include <array>
#include <iomanip>
#include <sstream>

#include "graph/error.h"
#include "graph/plan.h"

namespace l2a {
namespace {

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
