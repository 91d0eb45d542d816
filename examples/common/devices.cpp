#include "examples/common/devices.h"

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
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

struct GpuBackend {
  const char* name;
  std::vector<Gpu> (*devices)();
  // A device's number, or -1 for the best.
  std::shared_ptr<Backend> (*make)(int device, const BackendOptions& options);
};

#ifdef L2A_HAS_CUDA
std::vector<Gpu> cuda_devices() {
  std::vector<Gpu> devices;
  for (const CudaDevice& device : list_cuda_devices()) {
    devices.push_back(
        {device.name, true, device.major < 8 ? "compute capability 8.0" : std::string()});
  }
  return devices;
}

std::shared_ptr<Backend> make_cuda(int device, const BackendOptions& options) {
  return make_cuda_backend({std::max(device, 0), options.prefill.value_or(PrefillPrecision::f16)});
}
#endif

#ifdef L2A_HAS_VULKAN
std::vector<Gpu> vulkan_devices() {
  std::vector<Gpu> devices;
  for (const VulkanDeviceInfo& device : list_vulkan_devices()) {
    devices.push_back({device.name, device.gpu, device.missing});
  }
  return devices;
}

std::shared_ptr<Backend> make_vulkan(int device, const BackendOptions& /*options*/) {
  VulkanOptions options;
  options.device = device;
  return make_vulkan_backend(options);
}
#endif

// Those of this build, fastest first.
std::vector<GpuBackend> gpu_backends() {
  return {
#ifdef L2A_HAS_CUDA
      {"cuda", cuda_devices, make_cuda},
#endif
#ifdef L2A_HAS_VULKAN
      {"vulkan", vulkan_devices, make_vulkan},
#endif
  };
}

// The number of the device to use unless one is asked for: the first real GPU that can be used, else one that
// cannot, so that making its backend says why. -1 where there is no GPU.
int best_device(const std::vector<Gpu>& devices) {
  const auto find = [&](bool usable) {
    const auto found = std::find_if(devices.begin(), devices.end(), [&](const Gpu& gpu) {
      return gpu.real && gpu.missing.empty() == usable;
    });
    return found == devices.end() ? -1 : static_cast<int>(found - devices.begin());
  };
  const int usable = find(true);
  return usable >= 0 ? usable : find(false);
}

std::shared_ptr<Backend> make_best(const BackendOptions& options, int threads) {
  std::vector<std::string> failures;
  const auto announce = [&](const char* instead) {
    for (const std::string& failure : failures) {
      print_error("note", concat(failure, "; running on ", instead, " instead"));
    }
  };
  for (const GpuBackend& gpu : gpu_backends()) {
    const int chosen = options.device >= 0 ? options.device : best_device(gpu.devices());
    if (chosen < 0) continue;
    try {
      auto backend = gpu.make(chosen, options);
      announce(gpu.name);
      return backend;
    } catch (const Error& error) {
      failures.emplace_back(error.what());
    }
  }
  announce("the CPU");
  return make_cpu_fallback(options, threads);
}

// Each as --backend and --device take it.
std::string device_list() {
  std::string text = concat("cpu        the CPU, with ", simd_level_name(best_simd_level()));
  for (const GpuBackend& backend : gpu_backends()) {
    int number = 0;
    for (const Gpu& gpu : backend.devices()) {
      const std::string label = concat(backend.name, " ", number++);
      text += concat("\n", label, std::string(label.size() < 11 ? 11 - label.size() : 1, ' '),
                     printable(gpu.name));
      if (!gpu.real) text += ", which is the CPU";
      if (!gpu.missing.empty()) text += concat("; cannot be used, for it lacks ", gpu.missing);
    }
  }
  return text;
}

}  // namespace

std::vector<std::string> backend_names() {
  std::vector<std::string> names = {"cpu"};
  for (const GpuBackend& gpu : gpu_backends()) names.emplace_back(gpu.name);
  names.emplace_back("reference");
  return names;
}

std::shared_ptr<Backend> make_backend(const BackendOptions& options, int threads) {
  const bool any = options.name == "auto";
  if (options.prefill) {
    for (const GpuBackend& gpu : gpu_backends()) {
      const std::string_view name = gpu.name;
      if (name == "cuda" && (any || name == options.name)) return gpu.make(options.device, options);
    }
    throw Error(concat("--prefill-precision is a choice of the CUDA backend, ",
                       any ? "which this build does not have" : "not of " + options.name));
  }
  if (options.name == "reference") return make_reference_backend();
  if (options.name == "cpu") return make_cpu_fallback(options, threads);
  for (const GpuBackend& gpu : gpu_backends()) {
    if (options.name == gpu.name) return gpu.make(options.device, options);
  }
  return make_best(options, threads);
}

std::shared_ptr<Backend> make_cpu_fallback(const BackendOptions& options, int threads) {
  CpuOptions cpu = options.cpu;
  cpu.threads = threads;
  return make_cpu_backend(cpu);
}

void add_cpu_options(CLI::App& app, CpuOptions& cpu) {
  std::vector<std::string> names;
  names.reserve(kSimdLevelCount);
  for (int i = 0; i < kSimdLevelCount; ++i) {
    names.emplace_back(simd_level_name(static_cast<SimdLevel>(i)));
  }
  app.add_option_function<std::string>(
         "--cpu",
         [&cpu, names](const std::string& name) {
           const auto found = std::find(names.begin(), names.end(), name);
           cpu.level = static_cast<SimdLevel>(found - names.begin());
         },
         "Instructions that the CPU's kernels use; by default the best it has")
      ->check(CLI::IsMember(names))
      ->option_text(CLI::detail::join(names, "|"));
  app.add_flag("--pin", cpu.pin, "Keep each CPU thread but the first on a CPU of its own");
}

void add_prefill_option(CLI::App& app, std::optional<PrefillPrecision>& precision) {
  app.add_option_function<std::string>(
         "--prefill-precision",
         [&precision](const std::string& name) {
           precision = name == "int8" ? PrefillPrecision::int8 : PrefillPrecision::f16;
         },
         "What CUDA rounds quantized weights and their inputs to in\n"
         "prefill: int8 is faster and coarser, and needs Hopper")
      ->check(CLI::IsMember({"f16", "int8"}))
      ->option_text("f16|int8 [f16]");
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
  add_cpu_options(app, options.cpu);
  add_prefill_option(app, options.prefill);
  app.add_flag_callback(
         "--list-devices", [] { throw CLI::CallForVersion(device_list(), 0); },
         "Name the devices of every backend")
      ->trigger_on_parse();
}

}  // namespace l2a
