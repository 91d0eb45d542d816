#include "graph/op_times.h"

namespace l2a {

void add_times(OpTimes& sums, const Graph& graph, const PlanTimes& run, const CostHints& hints) {
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    OpTime& sum = sums[std::string(node.op->name())];
    ++sum.calls;
    sum.seconds += run.nodes[i];
    sum.cost += node.op->cost(graph.input_infos(node), graph.output_info(node), hints);
  }
  if (run.copies > 0) sums["copy"].seconds += run.copies;
}

}  // namespace l2a
