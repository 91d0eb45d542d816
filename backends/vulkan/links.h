// Dispatches that wait for the ones before without a barrier between them.
//
// A barrier costs more than its own time: memory is idle while the last workgroups before it end and the first after
// it start, bring their activations in and ask for their weights. Of steps that can (Step), the later one's workgroups
// begin while the earlier one's are ending, load their first weights, and then look for the values they need until
// these are there (shaders/links.glsl). A value says itself whether it is: what passes between linked steps lies in
// memory where nothing else does (LinkMemory), which is filled with kUnwritten when a run begins. So no two steps of a chain
// write the same place, and what a step finds is what it waits for; a chain begins after a barrier and ends with one.
//
// Vulkan does not promise that a workgroup which others wait for ever runs. On a GPU that issues workgroups in the order
// of their dispatches it does: those of the earlier dispatch have all been issued before the first that waits for
// them. So this is used on devices where it was seen to work (Tuning::links), and no wait is endless: after
// Tuning::link_looks looks a workgroup notes that it gives up, and all others do with it. The host sees that when the
// step ends, says so once, does the step again with barriers, and stays with them. For that a step must leave the same when
// it is done twice: plans that add to a state (count_rows) have barriers.
#pragma once

#include <memory>
#include <vector>

#include "backends/vulkan/memory.h"

namespace l2a::vulkan {

struct Link {
  VkDeviceAddress links = 0;                       // for the push constants
  std::uint32_t waits = 0, raises = 0, looks = 0;  // the last specialisation constants
};

// What passes between linked steps of a plan.
class LinkMemory {
 public:
  explicit LinkMemory(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  // Memory for nothing else.
  Extent take(std::size_t bytes);
  std::vector<Extent> extents() const;  // of all of it

 private:
  friend class Links;
  std::shared_ptr<Device> device_;
  std::vector<std::unique_ptr<Memory>> chunks_;
  std::size_t used_ = 0;  // of the last
};

// What a recorded plan has beside that: a mark that a wait was given up, for others on the device, and one for the host.
class Links {
 public:
  explicit Links(const std::shared_ptr<Device>& device);

  VkDeviceAddress address() const { return head_.address(); }
  // Prepares a run: nothing is written. A barrier must follow.
  void reset(VkCommandBuffer commands, const LinkMemory& memory) const;
  // Whether a wait was ever given up: the marks stay, as links are not used after that.
  bool failed() const;

 private:
  std::shared_ptr<Device> device_;
  Memory head_, failed_;
};

}  // namespace l2a::vulkan
