// What a backend is to the graph: memory, the ops it supports, and compiled runs of nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace l2a {

class Backend;

// Memory of a backend. Owned by whoever allocated it; graphs keep it alive while they refer to it.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  virtual ~Buffer() = default;

  std::size_t bytes() const { return bytes_; }
  virtual Backend& backend() const = 0;
  // Address of the memory if the host can read and write it directly, else null.
  virtual std::byte* host() const = 0;
  // Copies in or out; done when the call returns. Throws Error outside the buffer's bounds.
  virtual void upload(std::size_t offset, std::span<const std::byte> from) = 0;
  virtual void download(std::size_t offset, std::span<std::byte> to) const = 0;

 private:
  std::size_t bytes_;
};

// Where a value lives when a plan runs.
struct Binding {
  Buffer* buffer = nullptr;
  std::size_t offset = 0;
};

// A run of nodes that a backend has prepared: replayed without building, allocating or reading back
// anything.
class Executable {
 public:
  Executable() = default;
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;
  virtual ~Executable() = default;
  virtual void run() = 0;
  // The same, and adds to seconds[i] what the i-th of its nodes took: by the clock on the host, by
  // the device's timestamps elsewhere. Nodes that are computed together have their time under the first
  // or the largest of them. What this costs beside run() is not counted.
  virtual void run_timed(std::span<double> seconds) = 0;
};

// What a backend's hardware does at most, as measured: what speeds are held against. 0: not known.
struct Limits {
  double read_bytes = 0;  // a second, from memory
  double integer_operations =
      0;                        // a second, of 8-bit products added in 32 bits; a multiply-add is 2
  double float_operations = 0;  // a second, of products in the widest float unit that matmuls use
  double bf16_operations = 0;   // a second, of bf16 products added in f32, where quantized weights
                                // are multiplied so instead of in bytes
  std::string how;              // by which instructions, for people: "AVX-512 VNNI, 2 threads"
};

struct MemoryRoom {
  std::uint64_t bytes = 0;       // in all
  std::uint64_t allocation = 0;  // one buffer holds at most
};

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  // Whether kernels can read and write memory that has a host address: such backends share tensors
  // uncopied.
  virtual bool uses_host_memory() const = 0;
  virtual bool supports(const Graph& graph, const Node& node) const = 0;

  // What allocate() may still take, as far as the system tells; nothing for memory of the host, which fills as it is
  // written to.
  virtual std::optional<MemoryRoom> room() const { return std::nullopt; }

  // Zeroed memory. Throws Error naming the backend, what was asked for and why it could not be had.
  virtual std::shared_ptr<Buffer> allocate(std::size_t bytes) = 0;
  // Memory holding these bytes, which `owner` keeps alive. A backend on host memory refers to them
  // in place, others copy. Never written to.
  virtual std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                         std::shared_ptr<const void> owner) = 0;

  // Measures for a fraction of a second, with all of the backend's threads or units.
  virtual Limits measure_limits() { return {}; }

  // Prepares nodes, in order, with `bindings` by value id (of storage roots, see Graph::root).
  virtual std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                              std::span<const NodeId> nodes,
                                              std::span<const Binding> bindings) = 0;
};

// The views of a node's operands under the bindings of an executable.
struct Operands {
  std::vector<TensorView> inputs;
  TensorView output;
};
// For backends on host memory.
Operands host_operands(const Graph& graph, const Node& node, std::span<const Binding> bindings);

}  // namespace l2a
