// When each piece of memory that a schedule needs is needed, before anything is placed.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "graph/planner.h"
#include "graph/scheduler.h"

namespace l2a {

// Ticks count the nodes and copies of a schedule in order.
class Liveness {
 public:
  Liveness(const Graph& graph, const Schedule& schedule);

  // (root, backend) -> life; the root's own memory under its home, copies under theirs.
  const std::map<std::pair<ValueId, int>, Lifetime>& lives() const { return lives_; }
  // The root whose memory a root uses: another one's where an op works in place.
  ValueId owner(ValueId root) const { return owner_[static_cast<std::size_t>(root)]; }

 private:
  int home(ValueId root) const { return schedule_.home[static_cast<std::size_t>(root)]; }
  void find_last_uses();
  // Inputs are written before a run and must survive it, since the next run may leave them as they are.
  void keep_input(ValueId id);
  void extend(std::pair<ValueId, int> key, int tick);
  // Notes that `root` is needed on `backend` at `tick`, in its own memory there or as a copy.
  void use(ValueId root, int backend, int tick);
  void visit(const Node& node, int backend, int tick);
  // The root whose memory the node's output may take over, or none.
  ValueId in_place_target(const Node& node, int backend, int tick) const;

  const Graph& graph_;
  const Schedule& schedule_;
  std::map<std::pair<ValueId, int>, Lifetime> lives_;
  std::vector<ValueId> owner_;
  std::vector<int> last_use_;
  int last_tick_ = 0;
};

}  // namespace l2a
