#include "examples/common/devices.h"

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#ifdef L2A_HAS_VULKAN
#include "backends/vulkan/vulkan_backend.h"
#endif
#include "examples/common/main_wrapper.h"
#include "graph/error.h"
#include "graph/simd_level.h"
#include "ops/reference_backend.h"

namespace l2a {
namespace {

struct Gpu {
  std::string name;
  bool real = false;    // not a CPU that acts as one
  std::string missing;  // what keeps it from being used
};

#ifdef L2A_HAS_VULKAN
std::vector<Gpu> vulkan_devices() {
  std::vector<Gpu> devices;
  for (const VulkanDeviceInfo& device : list_vulkan_devices()) {
    devices.push_back({device.name, device.gpu, device.missing});
  }
  return devices;
}

std::shared_ptr<Backend> make_vulkan(int device) {
  VulkanOptions options;
  options.device = device;
  return make_vulkan_backend(options);
}
#else
std::vector<Gpu> vulkan_devices() { return {}; }
std::shared_ptr<Backend> make_vulkan(int /*device*/) {
  throw Error("this build has no Vulkan backend; cmake --preset vulkan makes one that has");
}
#endif

std::shared_ptr<Backend> make_best(int device, int threads) {
  const std::vector<Gpu> devices = vulkan_devices();
  const auto real = [](const Gpu& gpu) { return gpu.real; };
  const auto usable = [](const Gpu& gpu) { return gpu.real && gpu.missing.empty(); };
  if (device < 0 && std::any_of(devices.begin(), devices.end(), real)) {
    const auto best = std::find_if(devices.begin(), devices.end(), usable);
    const auto chosen =
        best != devices.end() ? best : std::find_if(devices.begin(), devices.end(), real);
    device = static_cast<int>(chosen - devices.begin());
  }
  if (device >= 0) {
    try {
      return make_vulkan(device);
    } catch (const Error& error) {
      print_error("note", concat(error.what(), "; running on the CPU instead"));
    }
  }
  return make_cpu_backend({threads, std::nullopt});
}

// Each as --backend and --device take it.
std::string device_list() {
  std::string text = concat("cpu        the CPU, with ", simd_level_name(best_simd_level()));
  int number = 0;
  for (const Gpu& gpu : vulkan_devices()) {
    text += concat("\nvulkan ", number++, "   ", printable(gpu.name));
    if (!gpu.real) text += ", which is the CPU";
    if (!gpu.missing.empty()) text += concat("; cannot be used, for it lacks ", gpu.missing);
  }
  return text;
}

}  // namespace

std::vector<std::string> backend_names() {
#ifdef L2A_HAS_VULKAN
  return {"cpu", "vulkan", "reference"};
#else
  return {"cpu", "reference"};
#endif
}

std::shared_ptr<Backend> make_backend(const BackendOptions& options, int threads) {
  if (options.name == "reference") return make_reference_backend();
  if (options.name == "vulkan") return make_vulkan(options.device);
  if (options.name == "cpu") return make_cpu_backend({threads, std::nullopt});
  return make_best(options.device, threads);
}

void add_backend_options(CLI::App& app, BackendOptions& options) {
  std::vector<std::string> names = backend_names();
  names.insert(names.begin(), "auto");
  app.add_option("--backend", options.name,
                 "auto takes the fastest that is here; reference is slow,\n"
                 "plain code to compare with")
      ->check(CLI::IsMember(names))
      ->option_text(CLI::detail::join(names, "|") + " [auto]");
  app.add_option("--device", options.device, "Number of the backend's device, as in --list-devices")
      ->check(CLI::Range(0, 1023))
      ->option_text("N");
  app.add_flag_callback(
         "--list-devices", [] { throw CLI::CallForVersion(device_list(), 0); },
         "Name the devices of every backend")
      ->trigger_on_parse();
}

}  // namespace l2a
