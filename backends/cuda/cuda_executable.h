// Nodes made ready to run on a device: their launches, recorded once as a CUDA graph.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backends/cuda/handles.h"
#include "backends/cuda/kernel.h"
#include "backends/cuda/lowering.h"
#include "graph/backend.h"

namespace l2a::cuda {

class CudaExecutable final : public Executable {
 public:
  CudaExecutable(std::shared_ptr<const Graph> graph, std::span<const NodeId> nodes,
                 std::span<const Binding> bindings, int device, const DeviceTraits& traits,
                 cudaStream_t stream);
  ~CudaExecutable() override;

  // Returns when the work is in the stream; who reads a result waits for it.
  void run() override;
  // Launches node by node, with the device's timestamps between them.
  void run_timed(std::span<double> seconds) override;

 private:
  void record();

  std::shared_ptr<const Graph> graph_;
  int device_;
  cudaStream_t stream_;
  std::vector<Operands> operands_;  // what the steps refer to
  std::vector<Step> steps_;
  DeviceMemory workspace_;
  Scratch scratch_;  // parts of it
  GraphExec recorded_;
};

}  // namespace l2a::cuda
