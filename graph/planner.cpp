#include "graph/planner.h"

#include <algorithm>
#include <numeric>

#include "graph/error.h"

namespace l2a {

ArenaLayout plan_arena(std::span<const Lifetime> lifetimes, std::size_t alignment) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].bytes > lifetimes[b].bytes;
  });

  ArenaLayout layout;
  layout.offsets.resize(lifetimes.size());
  std::vector<std::size_t> placed;  // by ascending offset
  for (const std::size_t item : order) {
    const Lifetime& life = lifetimes[item];
    std::size_t offset = 0;
    for (const std::size_t other : placed) {
      const Lifetime& taken = lifetimes[other];
      if (taken.last < life.first || life.last < taken.first) continue;
      if (layout.offsets[other] >= offset + life.bytes) break;  // the gap before it is wide enough
      const std::size_t end = layout.offsets[other] + taken.bytes;
      offset = std::max(offset, (end + alignment - 1) / alignment * alignment);
    }
    if (offset + life.bytes < offset)
      throw Error("the intermediates of the graph overflow the address space");
    layout.offsets[item] = offset;
    layout.bytes = std::max(layout.bytes, offset + life.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), item,
                                   [&](std::size_t a, std::size_t b) {
                                     return layout.offsets[a] < layout.offsets[b];
                                   }),
                  item);
  }
  return layout;
}

}  // namespace l2a
