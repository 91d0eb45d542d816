#include "backends/vulkan/split_rows.h"

#include <algorithm>
#include <cstring>

#include "graph/error.h"
#include "ops/matmul.h"
#include "ops/row_lookup.h"

namespace l2a::vulkan {
namespace {

constexpr std::size_t kBlockBytes = 34, kHalf = 16, kTogether = 32;  // as in convert.glsl

// Between a row of blocks and a split one.
void convert_row(std::span<std::byte> row, bool split) {
  const std::size_t blocks = row.size() / kBlockBytes;
  const std::vector<std::byte> from(row.begin(), row.end());
  const auto move = [&](std::size_t joined, std::size_t apart, std::size_t bytes) {
    const auto [to, at] = split ? std::pair(apart, joined) : std::pair(joined, apart);
    std::memcpy(row.data() + to, from.data() + at, bytes);
  };
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t joined = block * kBlockBytes, before = block / kTogether * kTogether;
    const std::size_t together = std::min(blocks - before, kTogether);
    move(joined, blocks * 2 * kHalf + 2 * block, 2);
    for (std::size_t half = 0; half < 2; ++half) {
      move(joined + 2 + half * kHalf, (2 * before + half * together + block - before) * kHalf,
           kHalf);
    }
  }
}

const Value* q8_weight(const Graph& graph, ValueId id) {
  if (id == kNoValue) return nullptr;
  const Value& root = graph.value(graph.root(id));
  return root.kind == ValueKind::weight && root.info.dtype == Dtype::q8_0 ? &root : nullptr;
}

}  // namespace

bool rows_split(const Device& device, const Graph& graph, ValueId weight) {
  const Value* root = q8_weight(graph, weight);
  if (root == nullptr || !device.tuning().splits_rows) return false;
  const std::size_t row_bytes = dtype_bytes(Dtype::q8_0, root->info.shape.back());
  return row_bytes % 16 == 0 && root->buffer_offset % 16 == 0 &&
         row_bytes <= device.physical().properties.limits.maxComputeSharedMemorySize;
}

bool splits_what_it_reads(const Node& node) {
  return node.op->name() == Matmul::kName || node.op->name() == RowLookup::kName;
}

bool reads_whole_rows(const Graph& graph, const Node& node) {
  // An op that knows nothing of split rows may read the blocks of weights that no other op has split.
  const auto splits = [&](const Value* root) {
    return std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](const Node& other) {
      return splits_what_it_reads(other) &&
             std::any_of(other.inputs.begin(), other.inputs.end(),
                         [&](ValueId id) { return q8_weight(graph, id) == root; });
    });
  };
  return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
    const Value* root = q8_weight(graph, id);
    if (root == nullptr) return true;
    return splits_what_it_reads(node) ? graph.value(id).info.shape.back() == root->info.shape.back()
                                      : !splits(root);
  });
}

bool SplitRows::add(std::size_t offset, std::size_t row_bytes, std::size_t rows) {
  const std::size_t end = offset + row_bytes * rows;
  const auto after = extents_.lower_bound(end);
  if (after != extents_.begin()) {
    const auto& [begin, extent] = *std::prev(after);
    if (extent.end > offset) {
      if (begin <= offset && end <= extent.end && extent.row_bytes == row_bytes &&
          (offset - begin) % row_bytes == 0) {
        return false;
      }
      throw Error(concat("vulkan: q8_0 weights at ", offset, " of a buffer, in rows of ", row_bytes,
                         " bytes, overlap others at ", begin, " in rows of ", extent.row_bytes));
    }
  }
  extents_[offset] = {row_bytes, end};
  return true;
}

bool SplitRows::overlap(std::size_t begin, std::size_t end) const {
  return std::any_of(extents_.begin(), extents_.end(),
                     [&](const auto& one) { return one.first < end && begin < one.second.end; });
}

std::pair<std::size_t, std::size_t> SplitRows::whole_rows(std::size_t begin,
                                                          std::size_t end) const {
  for (const auto& [first, extent] : extents_) {
    if (first < begin && begin < extent.end) begin -= (begin - first) % extent.row_bytes;
    if (first < end && end < extent.end) {
      end += extent.row_bytes - 1 - (end - first - 1) % extent.row_bytes;
    }
  }
  return {begin, end};
}

void SplitRows::convert(std::size_t begin, std::span<std::byte> bytes, bool split) const {
  for (const auto& [first, extent] : extents_) {
    const std::size_t from = std::max(first, begin);
    const std::size_t to = std::min(extent.end, begin + bytes.size());
    for (std::size_t row = from; row < to; row += extent.row_bytes) {
      convert_row(bytes.subspan(row - begin, extent.row_bytes), split);
    }
  }
}

}  // namespace l2a::vulkan
