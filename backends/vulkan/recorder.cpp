#include "backends/vulkan/recorder.h"

#include <algorithm>
#include <cstring>

#include "graph/error.h"

namespace l2a::vulkan {
namespace {

// As shaders/dispatch_sizes.comp reads them.
struct Request {
  std::uint32_t x, y, z;      // y: the most
  std::uint32_t scale, tile;  // tile 0: an unused slot
};

bool overlap(const Extent& a, std::span<const Extent> others) {
  return std::any_of(others.begin(), others.end(), [&](const Extent& b) { return a.overlaps(b); });
}

}  // namespace

Recorder::Recorder(const std::shared_ptr<Device>& device, Pipelines& pipelines,
                   const std::map<ValueId, std::uint32_t>& rows_uses)
    : device_(device), pipelines_(pipelines) {
  std::uint32_t total = 0;
  for (const auto& [rows, uses] : rows_uses) {
    slots_[rows] = {total, uses, 0};
    total += uses;
  }
  if (total > 0) {
    requests_ = std::make_unique<Memory>(device, total * sizeof(Request), Memory::Kind::staging);
    sizes_ = std::make_unique<Memory>(device, total * sizeof(VkDispatchIndirectCommand),
                                      Memory::Kind::device);
    std::memset(requests_->host(), 0, requests_->bytes());
  }
  pool_ = device_->make_command_pool();
}

Recorder::~Recorder() {
  device_->functions().vkDestroyQueryPool(device_->handle(), times_, nullptr);
  device_->functions().vkDestroyCommandPool(device_->handle(), pool_, nullptr);
}

void Recorder::begin() {
  commands_ = device_->make_command_buffer(pool_);
  VkCommandBufferBeginInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  device_->check(device_->functions().vkBeginCommandBuffer(commands_, &info), "recording a plan");
}

void Recorder::order(std::span<const Extent> reads, std::span<const Extent> writes) {
  const bool waits = std::any_of(reads.begin(), reads.end(),
                                 [&](const Extent& one) { return overlap(one, written_); }) ||
                     std::any_of(writes.begin(), writes.end(), [&](const Extent& one) {
                       return overlap(one, written_) || overlap(one, read_);
                     });
  if (waits) forget();
  read_.insert(read_.end(), reads.begin(), reads.end());
  written_.insert(written_.end(), writes.begin(), writes.end());
}

void Recorder::keep_links(const LinkMemory& memory) {
  links_ = std::make_unique<Links>(device_);
  links_->reset(commands_, memory);
  const std::vector<Extent> filled = memory.extents();
  written_.insert(written_.end(), filled.begin(), filled.end());
  filled_ = true;
}

void Recorder::order(std::span<const Extent> reads, std::span<const Extent> writes, bool waits,
                     bool raises) {
  waits_ = waits;
  raises_ = raises;
  if (waits || raises) {
    if (!waits) forget();  // all that the chain reads from outside is there when it begins
    read_.insert(read_.end(), reads.begin(), reads.end());
    written_.insert(written_.end(), writes.begin(), writes.end());
  } else {
    order(reads, writes);
  }
}

Link Recorder::link() const {
  if (links_ == nullptr) return {};
  return {links_->address(), waits_ ? 1u : 0u, raises_ ? 1u : 0u, tuning().link_looks};
}

void Recorder::forget() {
  barrier();
  read_.clear();
  written_.clear();
}

void Recorder::barrier() {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT;
  memory.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  // Making sizes of dispatches visible costs more.
  VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
  if (sized_) {
    memory.dstAccessMask |= VK_ACCESS_INDIRECT_COMMAND_READ_BIT;
    stages |= VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT;
  }
  if (filled_) {
    memory.srcAccessMask |= VK_ACCESS_TRANSFER_WRITE_BIT;
    stages |= VK_PIPELINE_STAGE_TRANSFER_BIT;
  }
  sized_ = filled_ = false;
  device_->functions().vkCmdPipelineBarrier(commands_, stages, stages, 0, 1, &memory, 0, nullptr, 0,
                                            nullptr);
}

Extent Recorder::sizes_of(ValueId rows) const {
  constexpr std::size_t kEach = sizeof(VkDispatchIndirectCommand);
  const Slots& slots = slots_.at(rows);
  return {sizes_->address() + slots.first * kEach,
          sizes_->address() + (slots.first + slots.count) * kEach};
}

void Recorder::size_dispatches(ValueId rows, VkDeviceAddress address) {
  const auto found = slots_.find(rows);
  if (found == slots_.end()) return;
  const Slots& slots = found->second;
  const Extent sizes = sizes_of(rows), count = {address, address + 4};
  order({&count, 1}, {&sizes, 1});
  struct {
    VkDeviceAddress rows, requests, sizes;
    std::uint32_t slots;
    std::uint32_t unused;
  } push{address, requests_->address() + slots.first * sizeof(Request), sizes.begin, slots.count,
         0};
  const std::uint32_t lanes = tuning().subgroup;
  dispatch("dispatch_sizes", lanes, {}, push, {(slots.count + lanes - 1) / lanes});
  sized_ = true;
}

void Recorder::dispatch_bytes(std::string_view shader, std::uint32_t lanes,
                              std::initializer_list<std::uint32_t> constants,
                              std::span<const std::byte> push, const Grid& grid) {
  std::vector<std::uint32_t> all = {lanes, tuning().subgroup};
  all.insert(all.end(), constants.begin(), constants.end());
  const DeviceFunctions& calls = device_->functions();
  const VkPipeline pipeline = pipelines_.get(shader, all);
  if (pipeline != bound_) {
    calls.vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    bound_ = pipeline;
  }
  calls.vkCmdPushConstants(commands_, pipelines_.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                           static_cast<std::uint32_t>(push.size()), push.data());
  // A dimension holds 65535 workgroups; more go round in z (shaders/common.glsl).
  constexpr std::uint32_t kMost = 65535;
  const std::uint32_t rounds = (grid.x + kMost - 1) / kMost;
  const std::uint32_t x = rounds > 1 ? kMost : grid.x, z = grid.z * rounds;
  if (grid.rows == kNoValue) {
    calls.vkCmdDispatch(commands_, x, grid.y, z);
    return;
  }
  Slots& slots = slots_.at(grid.rows);
  if (slots.used == slots.count) throw Error("vulkan: more sized dispatches than were planned");
  const std::uint32_t slot = slots.first + slots.used++;
  const Request request{x, grid.y, z, grid.scale, grid.tile};
  std::memcpy(requests_->host() + slot * sizeof(Request), &request, sizeof(request));
  calls.vkCmdDispatchIndirect(commands_, sizes_->buffer(),
                              slot * sizeof(VkDispatchIndirectCommand));
}

void Recorder::keep_times(std::uint32_t most) {
  if (device_->physical().timestamp_bits == 0) {
    throw Error(concat(device_->name(), ": has no timestamps to time ops by"));
  }
  VkQueryPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  info.queryType = VK_QUERY_TYPE_TIMESTAMP;
  info.queryCount = most;
  const DeviceFunctions& calls = device_->functions();
  device_->check(calls.vkCreateQueryPool(device_->handle(), &info, nullptr, &times_),
                 "preparing to time ops");
  calls.vkCmdResetQueryPool(commands_, times_, 0, most);
}

void Recorder::write_time() {
  barrier();  // nothing that follows starts before
  device_->functions().vkCmdWriteTimestamp(commands_, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, times_,
                                           times_written_++);
}

std::vector<double> Recorder::read_times() const {
  std::vector<std::uint64_t> ticks(times_written_);
  device_->check(device_->functions().vkGetQueryPoolResults(
                     device_->handle(), times_, 0, times_written_, ticks.size() * 8, ticks.data(),
                     8, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                 "timing ops");
  const PhysicalDevice& physical = device_->physical();
  const double tick = static_cast<double>(physical.properties.limits.timestampPeriod) * 1e-9;
  const std::uint64_t mask = ~std::uint64_t{0} >> (64 - physical.timestamp_bits);
  std::vector<double> seconds;
  for (std::size_t i = 1; i < ticks.size(); ++i) {
    seconds.push_back(static_cast<double>((ticks[i] - ticks[i - 1]) & mask) * tick);
  }
  return seconds;
}

void Recorder::end() {
  // The host, and copies, see what was computed.
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT;
  memory.dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_SHADER_READ_BIT |
                         VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT;
  const DeviceFunctions& calls = device_->functions();
  calls.vkCmdPipelineBarrier(
      commands_, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT,
      VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
          VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT,
      0, 1, &memory, 0, nullptr, 0, nullptr);
  device_->check(calls.vkEndCommandBuffer(commands_), "recording a plan");
}

}  // namespace l2a::vulkan
