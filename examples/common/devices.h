// The backends that this build has, by name, and their devices.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "graph/backend.h"

namespace l2a {

// "cpu", "vulkan" and so on: what --backend takes beside "auto".
std::vector<std::string> backend_names();

struct BackendOptions {
  std::string name = "auto";
  int device = -1;                          // of the backend's; -1: the best
  CpuOptions cpu = {};                      // but its threads, which are given apart
  std::optional<PrefillPrecision> prefill;  // of CUDA's, which "auto" then takes; none: f16
};

// By name; "auto" takes a GPU where there is one, else the CPU, and says on standard error when a GPU is
// here that cannot be used. `threads`: of the CPU; 0: as many as the process may use. Throws Error where the backend
// cannot be had, or has no choice that was made for it.
std::shared_ptr<Backend> make_backend(const BackendOptions& options, int threads);
// The CPU's, whatever `options` names.
std::shared_ptr<Backend> make_cpu_fallback(const BackendOptions& options, int threads);

// Adds --cpu and --pin. What the machine lacks for them fails when the CPU's backend is made.
void add_cpu_options(CLI::App& app, CpuOptions& cpu);
// Adds --prefill-precision.
void add_prefill_option(CLI::App& app, std::optional<PrefillPrecision>& precision);
// Adds --backend, --device, --cpu, --pin, --prefill-precision and --list-devices.
void add_backend_options(CLI::App& app, BackendOptions& options);

}  // namespace l2a
