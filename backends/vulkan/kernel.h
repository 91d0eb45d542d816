// What a Vulkan kernel is, and what it is given when a plan is recorded.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string_view>

#include "backends/vulkan/recorder.h"
#include "backends/vulkan/split_rows.h"
#include "graph/graph.h"

namespace l2a::vulkan {

// Where values live on the device: as they are bound, but for those that a lowering moved (lowering.h).
class Places {
 public:
  Places(const Graph& graph, std::span<const Binding> bindings)
      : graph_(graph), bindings_(bindings) {}
  VkDeviceAddress address(ValueId id) const;
  Extent extent(ValueId id) const;
  // From here on a root and its views are at another address.
  void move(ValueId root, VkDeviceAddress to) { moved_[root] = to; }

 private:
  const Graph& graph_;
  std::span<const Binding> bindings_;
  std::map<ValueId, VkDeviceAddress> moved_;
};

class Call {
 public:
  Call(const Graph& graph, const Node& node, const Places& places, Recorder& into)
      : recorder(into), graph_(graph), node_(node), places_(places) {}

  Recorder& recorder;
  VkDeviceAddress workspace = 0;  // as many bytes as the kernel asked for

  int inputs() const { return static_cast<int>(node_.inputs.size()); }
  bool present(int input) const { return id(input) != kNoValue; }
  const ValueInfo& input(int i) const { return graph_.value(id(i)).info; }
  const ValueInfo& output() const { return graph_.value(node_.output).info; }
  VkDeviceAddress address(int input) const {  // 0 where an optional input is absent
    return present(input) ? places_.address(id(input)) : 0;
  }
  // Whether the rows of a weight are split (split_rows.h).
  bool split(int input) const { return rows_split(recorder.device(), graph_, id(input)); }
  VkDeviceAddress output_address() const { return places_.address(node_.output); }
  // The Rows value of an input, or kNoValue.
  ValueId id(int input) const { return node_.inputs[static_cast<std::size_t>(input)]; }

  const Tuning& tuning() const { return recorder.tuning(); }
  template <class T>
  const T& attributes() const {
    return static_cast<const T&>(*node_.op);
  }

 private:
  const Graph& graph_;
  const Node& node_;
  const Places& places_;
};

struct Kernel {
  std::string_view op;
  void (*record)(const Call& call);
  std::size_t (*workspace_bytes)(const Call& call) = nullptr;        // null: none
  bool (*supports)(const Graph& graph, const Node& node) = nullptr;  // null: all that the op allows
};

// The kernel of an op, or null.
const Kernel* find_kernel(std::string_view op);

// Rows of the leading extent and elements of one of them.
inline std::uint32_t row_count(const ValueInfo& x) {
  return static_cast<std::uint32_t>(x.shape[0]);
}
inline std::uint32_t row_width(const ValueInfo& x) {
  return static_cast<std::uint32_t>(x.shape.elements() / x.shape[0]);
}
inline std::uint32_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return static_cast<std::uint32_t>((a + b - 1) / b);
}

}  // namespace l2a::vulkan
