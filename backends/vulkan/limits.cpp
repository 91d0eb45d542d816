#include "backends/vulkan/limits.h"

#include <algorithm>
#include <array>
#include <limits>

#include "backends/vulkan/recorder.h"
#include "graph/error.h"
#include "graph/stopwatch.h"

namespace l2a::vulkan {
namespace {

constexpr int kRepetitions = 4;       // of one submission
constexpr double kWarmSeconds = 0.1;  // an idle device takes that long to reach its clock

enum class Work : std::uint32_t { fill, read, multiply };  // as in limits.comp

struct Push {
  VkDeviceAddress at;
  std::uint32_t vectors, iterations;
};

// Seconds of the best of many runs, by the device's clock.
double best_time(const std::shared_ptr<Device>& device, Pipelines& pipelines, Work work,
                 std::uint32_t groups, const Push& push) {
  Recorder recorder(device, pipelines, {});
  recorder.begin();
  recorder.keep_times(kRepetitions + 1);
  recorder.write_time();
  for (int i = 0; i < kRepetitions; ++i) {
    recorder.dispatch("limits", device->tuning().workgroup, {static_cast<std::uint32_t>(work)},
                      push, {.x = groups});
    recorder.write_time();
  }
  recorder.end();
  double best = std::numeric_limits<double>::infinity();
  const Stopwatch watch;
  do {
    device->submit_and_wait(recorder.commands());
    for (const double seconds : recorder.read_times()) best = std::min(best, seconds);
  } while (watch.seconds() < kWarmSeconds);
  return best;
}

}  // namespace

Limits measure_limits(const std::shared_ptr<Device>& device, Pipelines& pipelines) {
  // On a CPU, lanes load one by one: what that reaches is no limit of the machine.
  if (!device->tuning().gpu) return {};
  // Beyond any cache, and long enough for the device's clock; less where tests shape a CPU as a GPU.
  const bool gpu = device->physical().gpu();
  const std::size_t bytes = std::size_t{gpu ? 1024u : 64u} << 20;
  const std::uint32_t iterations = gpu ? 2048 : 16;
  const Memory memory(device, bytes, Memory::Kind::device);
  const Push push{memory.address(), static_cast<std::uint32_t>(bytes / 16), iterations};
  // Few lanes with many loads each, and many with few: which is best is up to the device.
  constexpr std::array<std::uint32_t, 3> kGroups = {1024, 4096, 16384};
  best_time(device, pipelines, Work::fill, kGroups[1], push);  // zeros may be compressed
  Limits limits;
  for (const std::uint32_t groups : kGroups) {
    const std::uint32_t step = 4 * groups * device->tuning().workgroup;  // of the shader's loop
    if (push.vectors % step != 0) continue;                              // it would not read it all
    limits.read_bytes =
        std::max(limits.read_bytes, static_cast<double>(bytes) /
                                        best_time(device, pipelines, Work::read, groups, push));
  }
  const double lanes = static_cast<double>(kGroups[1]) * device->tuning().workgroup;
  limits.float_operations =
      lanes * iterations * 64 * 2 / best_time(device, pipelines, Work::multiply, kGroups[1], push);
  limits.how = concat("Vulkan, f32 in ", device->physical().properties.deviceName);
  return limits;
}

}  // namespace l2a::vulkan
