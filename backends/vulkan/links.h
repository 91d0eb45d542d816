// Dispatches that wait for the one before without a barrier between them.
//
// A barrier costs more than its own time: memory is idle while the last workgroups before it end and the first after
// it start, bring their activations in and ask for their weights. Of steps that can (Step::links), the later one's
// workgroups begin while the earlier one's are ending, load their first weights, and then wait until a counter says
// that all of the earlier ones have written what they write (shaders/links.glsl).
//
// Vulkan does not promise that a workgroup which others wait for ever runs. On a GPU that issues workgroups in the order
// of their dispatches it does: those of the earlier dispatch have all been issued before the first that waits for
// them. So this is used on devices where it was seen to work (Tuning::links), and no wait is endless: after
// Tuning::link_looks looks a workgroup notes that it gave up, and all others with it. The host sees that when the step
// ends, says so once, does the step again with barriers, and stays with them. For that a step must leave the same when it is
// done twice: plans that add to a state (count_rows) have barriers.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/vulkan/memory.h"

namespace l2a::vulkan {

// What a dispatch is told: the end of its push constants, and its last specialisation constants.
struct Link {
  VkDeviceAddress links = 0;
  std::uint32_t numbers = 0;  // its own; from bit 16 on, how high the counter before it goes
  std::uint32_t waits = 0, raises = 0, looks = 0;
};

// The counters of a recorded plan.
class Links {
 public:
  Links(const std::shared_ptr<Device>& device, std::size_t most);

  const Memory& counters() const { return counters_; }
  // Of counters(), what must be zero when a run begins.
  static constexpr std::size_t kZeroFrom = 8;
  VkDeviceAddress address() const { return counters_.address(); }
  // Whether a wait of the last run was given up.
  bool failed() const;

 private:
  Memory counters_, failed_;
};

}  // namespace l2a::vulkan
