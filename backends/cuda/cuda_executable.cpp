#include "backends/cuda/cuda_executable.h"

#include "backends/cuda/device_buffer.h"

namespace l2a::cuda {
namespace {

constexpr std::size_t kAlign = 256;
constexpr std::size_t kCounterBytes = kCounters * sizeof(std::uint32_t);

}  // namespace

CudaExecutable::CudaExecutable(std::shared_ptr<const Graph> graph, std::span<const NodeId> nodes,
                               std::span<const Binding> bindings, int device,
                               const DeviceTraits& traits, cudaStream_t stream)
    : graph_(std::move(graph)), device_(device), stream_(stream) {
  auto view = [&](ValueId id) {
    if (id == kNoValue) return TensorView{};
    const ValueInfo& info = graph_->value(id).info;
    const Binding& binding = bindings[static_cast<std::size_t>(graph_->root(id))];
    std::byte* data = static_cast<DeviceBuffer*>(binding.buffer)->data() + binding.offset +
                      graph_->root_offset(id);
    return TensorView{info.dtype, info.shape, info.strides, data};
  };
  for (const NodeId id : nodes) {
    const Node& node = graph_->node(id);
    Operands& operands = operands_.emplace_back();
    for (const ValueId input : node.inputs) operands.inputs.push_back(view(input));
    operands.output = view(node.output);
  }
  Lowered lowered = lower(*graph_, nodes, operands_, traits, stream);
  steps_ = std::move(lowered.steps);
  // One piece of memory: counters, then the rest, each at its alignment.
  std::size_t bytes = kCounterBytes;
  std::size_t places[3];
  const std::size_t sizes[3] = {lowered.general_bytes, lowered.activation_bytes,
                                lowered.head_bytes};
  for (int i = 0; i < 3; ++i) {
    places[i] = bytes;
    bytes += (sizes[i] + kAlign - 1) / kAlign * kAlign;
  }
  workspace_ = allocate_device(bytes);
  check(cudaMemsetAsync(workspace_.get(), 0, kCounterBytes, stream_), "clearing the workspace");
  auto* base = static_cast<std::byte*>(workspace_.get());
  scratch_ = {base + places[0], base + places[1], base + places[2],
              reinterpret_cast<std::uint32_t*>(base)};
  record();
}

CudaExecutable::~CudaExecutable() {
  // Memory goes only when nothing uses it any more.
  cudaSetDevice(device_);
  cudaStreamSynchronize(stream_);
}

void CudaExecutable::record() {
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a graph");
  cudaGraph_t recorded = nullptr;
  try {
    for (const Step& step : steps_) step.run(scratch_);
  } catch (...) {
    cudaStreamEndCapture(stream_, &recorded);
    if (recorded != nullptr) cudaGraphDestroy(recorded);
    throw;
  }
  check(cudaStreamEndCapture(stream_, &recorded), "recording a graph");
  const RecordedGraph owned(recorded);
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, recorded, 0), "instantiating a graph");
  recorded_ = GraphExec(exec);
}

void CudaExecutable::run() {
  check(cudaSetDevice(device_), "selecting the device");
  check(cudaGraphLaunch(recorded_.get(), stream_), "launching a graph");
}

void CudaExecutable::run_timed(std::span<double> seconds) {
  check(cudaSetDevice(device_), "selecting the device");
  std::vector<Event> events;
  for (std::size_t i = 0; i <= steps_.size(); ++i) events.push_back(make_event(cudaEventDefault));
  check(cudaEventRecord(events[0].get(), stream_), "timing");
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].run(scratch_);
    check(cudaEventRecord(events[i + 1].get(), stream_), "timing");
  }
  check(cudaStreamSynchronize(stream_), "waiting for the device");
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events[i].get(), events[i + 1].get()), "timing");
    seconds[steps_[i].node] += 1e-3 * static_cast<double>(milliseconds);
  }
}

}  // namespace l2a::cuda
