// Rows of q8_0 weights as GPUs keep them. A block has 34 bytes, so that nothing in a row of them is aligned: a lane
// that loads vectors of sixteen bytes gets parts of blocks, and has to ask its neighbours for their scales. So a GPU's
// copy of a weight is split, in place, when a plan first reads it: first a row's codes, then its scales in the blocks' order.
// Of each 32 blocks (of the last ones what there is) all first halves lie before all second halves: lane n loads both halves of
// block n, and its scale, each next to what its neighbours load.
//
// Split are weights whose rows are whole vectors and fit in shared memory, where products.comp reads them
// (Tuning::splits_rows); caches and all others stay as ops/blocks.h has them. Who uploads or downloads through the
// buffer does not notice (buffer.h).
#pragma once

#include <cstddef>
#include <map>
#include <span>

#include "backends/vulkan/device.h"
#include "graph/graph.h"

namespace l2a::vulkan {

// Whether a weight's rows are split on this device, by the time a plan runs that reads it.
bool rows_split(const Device& device, const Graph& graph, ValueId weight);
// Whether a node's op knows of split rows, so that the weights it reads are split.
bool splits_what_it_reads(const Node& node);
// Whether all that a node reads of weights that may be split is whole rows, and by an op that knows of them.
bool reads_whole_rows(const Graph& graph, const Node& node);

// The split rows of a buffer.
class SplitRows {
 public:
  // Notes rows that follow one another. False: they were split before. Throws Error where some of them were, in rows
  // of another width.
  bool add(std::size_t offset, std::size_t row_bytes, std::size_t rows);

  bool empty() const { return extents_.empty(); }
  bool overlap(std::size_t begin, std::size_t end) const;
  // The least part of the buffer that has these bytes and no row in part.
  std::pair<std::size_t, std::size_t> whole_rows(std::size_t begin, std::size_t end) const;
  // Turns the buffer's bytes from `begin` on, whole rows, into what was uploaded, or back.
  void join(std::size_t begin, std::span<std::byte> bytes) const { convert(begin, bytes, false); }
  void split(std::size_t begin, std::span<std::byte> bytes) const { convert(begin, bytes, true); }

 private:
  struct Extent {
    std::size_t row_bytes, end;
  };
  void convert(std::size_t begin, std::span<std::byte> bytes, bool split) const;
  std::map<std::size_t, Extent> extents_;  // by their beginning; apart
};

}  // namespace l2a::vulkan
