// How attention of many rows is cut into pieces for threads.
#pragma once

#include <algorithm>
#include <atomic>

#include "backends/cpu/attention/attention.h"

namespace l2a::cpu {

// The rows of a call in the order in which pieces take them: those with a window, then the others. Rows without a window
// make pieces of their own, since a piece goes through every key that any of its rows sees.
struct RowOrder {
  std::int32_t* rows;
  std::int64_t windowed, count;

  RowOrder(const AttentionCall& call, std::int32_t* memory) : rows(memory), count(call.rows()) {
    std::int64_t low = 0;
    for (std::int64_t row = 0; row < count; ++row)
      if (!call.is_wide(row)) rows[low++] = static_cast<std::int32_t>(row);
    windowed = low;
    for (std::int64_t row = 0; low < count; ++row)
      if (call.is_wide(row)) rows[low++] = static_cast<std::int32_t>(row);
  }
};

// Calls run(rows, key_head, first, last) on the piece of work that `make(slot)` gives to each thread until all is done:
// for heads [first, last) of `rows` counted through (row 0's heads of the group, row 1's, ...), at most `most` of them.
template <class Make>
void for_each_piece(const AttentionCall& call, const RowOrder& order, std::int64_t most,
                    Make make) {
  const std::int64_t windowed = order.windowed * call.group;
  const std::int64_t others = (order.count - order.windowed) * call.group;
  const std::int64_t windowed_pieces = (windowed + most - 1) / most;
  const std::int64_t pieces = windowed_pieces + (others + most - 1) / most;
  // The last pieces see the most keys, so they go first: nobody is left with one at the end.
  std::atomic<std::int64_t> left{pieces * call.key_heads};
  call.cpu.pool.parallel_for(
      call.cpu.pool.threads(), 1, [&](std::int64_t slot, std::int64_t /*end*/) {
        auto work = make(slot);
        for (std::int64_t item = --left; item >= 0; item = --left) {
          const std::int64_t index = item / call.key_heads, key_head = item % call.key_heads;
          if (index < windowed_pieces) {
            work.run(order.rows, key_head, index * most, std::min((index + 1) * most, windowed));
          } else {
            const std::int64_t first = (index - windowed_pieces) * most;
            work.run(order.rows + order.windowed, key_head, first, std::min(first + most, others));
          }
        }
      });
}

}  // namespace l2a::cpu
