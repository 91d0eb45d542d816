#include "backends/vulkan/limits.h"

#include <algorithm>

#include "backends/vulkan/recorder.h"
#include "graph/error.h"

namespace l2a::vulkan {
namespace {

constexpr int kRepetitions = 5;

struct Push {
  VkDeviceAddress from, to;
  std::uint32_t vectors, iterations;
};

// Seconds of the best of a few runs.
double best_time(const std::shared_ptr<Device>& device, Pipelines& pipelines, std::uint32_t groups,
                 bool reads, const Push& push) {
  Recorder recorder(device, pipelines, {});
  recorder.begin();
  recorder.keep_times(kRepetitions + 1);
  recorder.write_time();
  for (int i = 0; i < kRepetitions; ++i) {
    recorder.dispatch("limits", device->tuning().workgroup, {reads ? 1u : 0u}, push, {.x = groups});
    recorder.write_time();
  }
  recorder.end();
  device->submit_and_wait(recorder.commands());
  const std::vector<double> times = recorder.read_times();
  return *std::min_element(times.begin() + 1, times.end());  // the first also compiles
}

}  // namespace

Limits measure_limits(const std::shared_ptr<Device>& device, Pipelines& pipelines) {
  const bool gpu = device->physical().gpu();
  // Larger than any cache, and with a few vectors for each lane.
  const std::size_t bytes = std::size_t{gpu ? 1024u : 64u} << 20;
  const std::uint32_t read_groups = gpu ? 8192 : 64, float_groups = gpu ? 16384 : 64;
  const std::uint32_t iterations = gpu ? 1024 : 4096;
  const Memory memory(device, bytes, Memory::Kind::device);
  Push push{memory.address(), memory.address(), static_cast<std::uint32_t>(bytes / 16), iterations};
  Limits limits;
  limits.read_bytes =
      static_cast<double>(bytes) / best_time(device, pipelines, read_groups, true, push);
  const double lanes = static_cast<double>(float_groups) * device->tuning().workgroup;
  limits.float_operations =
      lanes * iterations * 64 * 2 / best_time(device, pipelines, float_groups, false, push);
  limits.how = concat("Vulkan, f32 in ", device->physical().properties.deviceName);
  return limits;
}

}  // namespace l2a::vulkan
