#include "backends/vulkan/limits.h"

#include <algorithm>

#include "backends/vulkan/recorder.h"
#include "graph/error.h"

namespace l2a::vulkan {
namespace {

constexpr int kRepetitions = 4;

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
  // On a CPU, lanes load one by one: what that reaches is no limit of the machine.
  if (!device->tuning().gpu) return {};
  // Larger than caches, and long enough for the device's clock.
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  constexpr std::uint32_t kReadGroups = 4096, kFloatGroups = 2048, kIterations = 128;
  const Memory memory(device, kBytes, Memory::Kind::device);
  Push push{memory.address(), memory.address(), static_cast<std::uint32_t>(kBytes / 16),
            kIterations};
  Limits limits;
  limits.read_bytes =
      static_cast<double>(kBytes) / best_time(device, pipelines, kReadGroups, true, push);
  const double lanes = static_cast<double>(kFloatGroups) * device->tuning().workgroup;
  limits.float_operations =
      lanes * kIterations * 64 * 2 / best_time(device, pipelines, kFloatGroups, false, push);
  limits.how = concat("Vulkan, f32 in ", device->physical().properties.deviceName);
  return limits;
}

}  // namespace l2a::vulkan
