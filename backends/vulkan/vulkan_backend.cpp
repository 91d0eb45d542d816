#include "backends/vulkan/vulkan_backend.h"

#include <algorithm>

#include "backends/vulkan/buffer.h"
#include "backends/vulkan/kernel.h"
#include "backends/vulkan/limits.h"
#include "backends/vulkan/lowering.h"
#include "graph/error.h"
#include "ops/count_rows.h"

namespace l2a {
namespace vulkan {
namespace {

class VulkanExecutable final : public Executable {
 public:
  VulkanExecutable(std::shared_ptr<Shared> shared, std::shared_ptr<const Graph> graph,
                   std::span<const NodeId> nodes, std::span<const Binding> bindings)
      : shared_(std::move(shared)),
        graph_(std::move(graph)),
        nodes_(nodes.begin(), nodes.end()),
        bindings_(bindings.begin(), bindings.end()),
        places_(*graph_, bindings_),
        lowered_(lower(shared_->device, *graph_, nodes_, places_)),
        recorder_(new_recorder()) {
    split_weights(*shared_, *graph_, nodes_, bindings_);
    for (const auto& memory : lowered_.memory) shared_->transfers.zero(*memory);
    std::size_t workspace = 0;
    for (const NodeId id : nodes_) {
      const Node& node = graph_->node(id);
      const Kernel& kernel = *find_kernel(node.op->name());
      if (kernel.workspace_bytes == nullptr) continue;
      const Call call(*graph_, node, places_, *recorder_);
      workspace = std::max(workspace, kernel.workspace_bytes(call));
    }
    if (workspace > 0) {
      workspace_ = std::make_unique<Memory>(shared_->device, workspace, Memory::Kind::device);
    }
    record(*recorder_, false);
    shared_->pipelines.save();
  }

  void run() override {
    Device& device = *shared_->device;
    if (recorder_->links() == nullptr || device.links()) {
      device.submit_and_wait(recorder_->commands());
      if (recorder_->links() == nullptr || !recorder_->links()->failed()) return;
      device.give_up_links();
    }
    recorder_ = new_recorder();
    record(*recorder_, false);
    device.submit_and_wait(recorder_->commands());
  }

  void run_timed(std::span<double> seconds) override {
    if (!timed_) {
      auto timed = new_recorder();
      record(*timed, true);
      timed_ = std::move(timed);
    }
    shared_->device->submit_and_wait(timed_->commands());
    const std::vector<double> times = timed_->read_times();
    for (std::size_t i = 0; i < times.size(); ++i) seconds[lowered_.steps[i].node] += times[i];
  }

 private:
  // A node dispatches at most this often by the count of one of its Rows.
  static constexpr std::uint32_t kDispatchesOfNode = 2;

  std::map<ValueId, std::uint32_t> rows_uses() const {
    std::map<ValueId, std::uint32_t> uses;
    for (const NodeId id : nodes_) {
      for (const ValueId input : graph_->node(id).inputs) {
        if (input != kNoValue && graph_->value(input).info.is_rows)
          uses[input] += kDispatchesOfNode;
      }
    }
    return uses;
  }

  std::unique_ptr<Recorder> new_recorder() const {
    return std::make_unique<Recorder>(shared_->device, shared_->pipelines, rows_uses());
  }

  // Whether steps are linked where they can be: a step that counts cannot be done again.
  bool links() const {
    return shared_->device->links() && std::none_of(nodes_.begin(), nodes_.end(), [&](NodeId id) {
             return graph_->node(id).op->name() == CountRows::kName;
           });
  }

  // With the device's clock before the first step and after each, when they are timed.
  void record(Recorder& recorder, bool timed) const {
    recorder.begin();
    const std::span<const Step> steps = lowered_.steps;
    const bool linked = !timed && links();
    if (linked) recorder.keep_links(lowered_.linked);
    if (timed) recorder.keep_times(static_cast<std::uint32_t>(lowered_.steps.size() + 1));
    for (const auto& [rows, uses] : rows_uses()) {  // of those that were computed elsewhere
      const NodeId producer = graph_->value(rows).producer;
      if (std::find(nodes_.begin(), nodes_.end(), producer) == nodes_.end()) {
        recorder.size_dispatches(rows, places_.address(rows));
      }
    }
    if (timed) recorder.write_time();
    bool waits = false;  // for the step before
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Step& step = steps[i];
      if (step.record) {
        const bool raises =
            linked && step.can_raise && i + 1 < steps.size() && steps[i + 1].can_wait;
        record(recorder, step, waits, raises);
        waits = raises;
      } else {
        record(recorder, graph_->node(nodes_[step.node]));
      }
      if (timed) recorder.write_time();
    }
    recorder.end();
  }

  void record(Recorder& recorder, const Step& step, bool waits, bool raises) const {
    std::vector<Extent> reads = step.own_reads, writes = step.own_writes;
    for (const ValueId id : step.reads) {
      reads.push_back(places_.extent(id));
      if (graph_->value(id).info.is_rows) reads.push_back(recorder.sizes_of(id));
    }
    for (const ValueId id : step.writes) writes.push_back(places_.extent(id));
    recorder.order(reads, writes, waits, raises);
    step.record(recorder);
  }

  void record(Recorder& recorder, const Node& node) const {
    const Kernel& kernel = *find_kernel(node.op->name());
    Call call(*graph_, node, places_, recorder);
    std::vector<Extent> reads, writes = {places_.extent(node.output)};
    for (const ValueId input : node.inputs) {
      if (input == kNoValue) continue;
      reads.push_back(places_.extent(input));
      if (graph_->value(input).info.is_rows) reads.push_back(recorder.sizes_of(input));
    }
    if (kernel.workspace_bytes != nullptr && workspace_) {
      call.workspace = workspace_->address();
      writes.push_back({workspace_->address(), workspace_->address() + workspace_->bytes()});
    }
    recorder.order(reads, writes);
    kernel.record(call);
    if (graph_->value(node.output).info.is_rows) {
      recorder.size_dispatches(node.output, places_.address(node.output));
    }
  }

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<const Graph> graph_;
  std::vector<NodeId> nodes_;
  std::vector<Binding> bindings_;
  Places places_;
  Lowered lowered_;
  std::unique_ptr<Memory> workspace_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<Recorder> timed_;  // made when first asked for
};

class VulkanBackend final : public Backend {
 public:
  explicit VulkanBackend(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  std::string_view name() const override { return "vulkan"; }
  bool uses_host_memory() const override { return false; }
  bool supports(const Graph& graph, const Node& node) const override;

  std::optional<MemoryRoom> room() const override {
    return MemoryRoom{shared_->device->free_bytes(),
                      shared_->device->physical().max_allocation - Memory::kTail};
  }

  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    auto buffer = std::make_shared<VulkanBuffer>(*this, shared_, bytes);
    buffer->zero();
    return buffer;
  }
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> /*owner*/) override {
    auto buffer = std::make_shared<VulkanBuffer>(*this, shared_, bytes.size());
    buffer->upload(0, bytes);
    return buffer;
  }
  Limits measure_limits() override {
    return vulkan::measure_limits(shared_->device, shared_->pipelines);
  }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    return std::make_unique<VulkanExecutable>(shared_, graph, nodes, bindings);
  }

 private:
  std::shared_ptr<Shared> shared_;
};

// Kernels index words with 32 bits, and grids have a row of workgroups for each token.
bool VulkanBackend::supports(const Graph& graph, const Node& node) const {
  const Kernel* kernel = find_kernel(node.op->name());
  if (kernel == nullptr) return false;
  constexpr std::int64_t kMostTokens = 65535, kMostElements = INT32_MAX;
  const auto fits = [&](ValueId id) {
    if (id == kNoValue) return true;
    const Value& value = graph.value(id);
    const std::size_t offset = graph.root_offset(id) + graph.value(graph.root(id)).buffer_offset;
    const std::size_t alignment =
        value.info.dtype == Dtype::f16 || value.info.dtype == Dtype::bf16 ? 2 : 4;
    const bool of_tokens = !graph.value(graph.root(id)).buffer;
    return offset % alignment == 0 && value.info.shape.elements() <= kMostElements &&
           (!of_tokens || value.info.shape[0] <= 1 + kMostTokens);
  };
  return fits(node.output) && reads_whole_rows(graph, node) &&
         std::all_of(node.inputs.begin(), node.inputs.end(), fits) &&
         (kernel->supports == nullptr || kernel->supports(graph, node));
}

}  // namespace

VkDeviceAddress Places::address(ValueId id) const {
  const ValueId root = graph_.root(id);
  if (const auto moved = moved_.find(root); moved != moved_.end()) {
    return moved->second + graph_.root_offset(id);
  }
  const Binding& binding = bindings_[static_cast<std::size_t>(root)];
  return static_cast<const VulkanBuffer*>(binding.buffer)->address() + binding.offset +
         graph_.root_offset(id);
}

Extent Places::extent(ValueId id) const {
  const ValueInfo& info = graph_.value(id).info;
  const VkDeviceAddress begin = address(id);
  return {begin, begin + dtype_bytes(info.dtype, info.shape.back()) *
                             static_cast<std::size_t>(info.shape.elements() / info.shape.back())};
}

}  // namespace vulkan

std::vector<VulkanDeviceInfo> list_vulkan_devices() {
  std::vector<VulkanDeviceInfo> devices;
  try {
    const vulkan::Instance instance(nullptr);
    for (const VkPhysicalDevice handle : instance.physical_devices()) {
      const vulkan::PhysicalDevice device = vulkan::inspect(instance.functions(), handle);
      devices.push_back(
          {device.properties.deviceName, device.gpu(), device.matrices.m > 0, device.missing});
    }
  } catch (const Error&) {
    devices.clear();  // no loader or no driver: no devices
  }
  return devices;
}

std::shared_ptr<Backend> make_vulkan_backend(const VulkanOptions& options) {
  auto instance = std::make_unique<vulkan::Instance>(options.validation_messages);
  std::vector<vulkan::PhysicalDevice> devices;
  for (const VkPhysicalDevice handle : instance->physical_devices()) {
    devices.push_back(vulkan::inspect(instance->functions(), handle));
  }
  if (devices.empty()) throw Error("vulkan: there is no Vulkan device here");
  const auto count = static_cast<int>(devices.size());
  int chosen = options.device;
  if (chosen < 0) {
    const auto first = [&](auto good) {
      return static_cast<int>(std::find_if(devices.begin(), devices.end(), good) - devices.begin());
    };
    chosen = first([](const auto& device) { return device.missing.empty() && device.gpu(); });
    if (chosen == count) chosen = first([](const auto& device) { return device.missing.empty(); });
    if (chosen == count) chosen = 0;
  }
  if (chosen >= count) {
    throw Error(
        concat("vulkan: there is no device ", chosen, "; the devices are 0 to ", count - 1));
  }
  const vulkan::PhysicalDevice& physical = devices[static_cast<std::size_t>(chosen)];
  if (!physical.missing.empty()) {
    throw Error(concat("vulkan: device ", chosen, ", ", physical.properties.deviceName,
                       ", lacks what is needed: ", physical.missing));
  }
  auto device = std::make_shared<vulkan::Device>(std::move(instance), physical, options);
  return std::make_shared<vulkan::VulkanBackend>(
      std::make_shared<vulkan::Shared>(device, options.cache_folder));
}

}  // namespace l2a
