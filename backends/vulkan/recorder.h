// Records the nodes of a plan into one command buffer, with barriers where one needs what another
// wrote, and with dispatches whose size is a Rows count that only the device knows.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "backends/vulkan/links.h"
#include "backends/vulkan/memory.h"
#include "backends/vulkan/pipelines.h"
#include "graph/graph.h"

namespace l2a::vulkan {

struct Grid {
  std::uint32_t x = 1, y = 1, z = 1;  // workgroups
  // With a Rows, y becomes ceil(count * scale / tile), of a count that is read on the device; at most
  // the y above.
  ValueId rows = kNoValue;
  std::uint32_t scale = 1, tile = 1;
};

class Recorder {
 public:
  // `rows_uses`: for each Rows value, how many dispatches may be sized by it.
  Recorder(const std::shared_ptr<Device>& device, Pipelines& pipelines,
           const std::map<ValueId, std::uint32_t>& rows_uses);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  const Device& device() const { return *device_; }
  const Tuning& tuning() const { return device_->tuning(); }

  void begin();
  // Before a node: has the device wait for what the node depends on.
  void order(std::span<const Extent> reads, std::span<const Extent> writes);
  // Steps may be linked from the next barrier on (links.h), by what lies in `memory`.
  void keep_links(const LinkMemory& memory);
  const Links* links() const { return links_.get(); }
  // Before a step that is linked to the one before, which it waits for itself, or to the next, or neither.
  void order(std::span<const Extent> reads, std::span<const Extent> writes, bool waits,
             bool raises);
  // For the dispatch of that step.
  Link link() const;
  // What a node that dispatches by this Rows reads besides the Rows itself.
  Extent sizes_of(ValueId rows) const;
  // Between two dispatches of one node.
  void barrier();
  // Turns the count of a Rows, which is in memory now, into the sizes of the dispatches it bounds.
  void size_dispatches(ValueId rows, VkDeviceAddress address);

  // `constants` beyond the first two, which are the lanes and the subgroup (pipelines.h).
  template <class Push>
  void dispatch(std::string_view shader, std::uint32_t lanes,
                std::initializer_list<std::uint32_t> constants, const Push& push,
                const Grid& grid) {
    static_assert(sizeof(Push) <= kPushBytes && sizeof(Push) % 4 == 0);
    dispatch_bytes(shader, lanes, constants, std::as_bytes(std::span<const Push, 1>(&push, 1)),
                   grid);
  }

  // Writes the device's clock once all before is done; `most` of them, asked for before the first.
  void keep_times(std::uint32_t most);
  void write_time();
  // After a run: seconds between each time and the next.
  std::vector<double> read_times() const;

  void end();
  VkCommandBuffer commands() const { return commands_; }

 private:
  struct Slots {
    std::uint32_t first = 0, count = 0, used = 0;
  };
  void dispatch_bytes(std::string_view shader, std::uint32_t lanes,
                      std::initializer_list<std::uint32_t> constants,
                      std::span<const std::byte> push, const Grid& grid);
  void forget();  // a barrier: nothing is left to wait for
  std::shared_ptr<Device> device_;
  Pipelines& pipelines_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkPipeline bound_ = VK_NULL_HANDLE;
  std::vector<Extent> read_, written_;  // since the last barrier
  bool sized_ = false;                  // whether sizes of dispatches are among what was written
  bool filled_ = false;                 // whether what was filled (links.h) is
  std::map<ValueId, Slots> slots_;
  std::unique_ptr<Links> links_;
  bool waits_ = false, raises_ = false;
  VkQueryPool times_ = VK_NULL_HANDLE;
  std::uint32_t times_written_ = 0;
  std::unique_ptr<Memory> requests_, sizes_;  // what dispatches want, and what they get; by slot
};

}  // namespace l2a::vulkan
