// A graph made ready to run: scheduled over backends, its intermediates placed, its nodes compiled.
// Made once and run many times; between runs only inputs change.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/backend.h"
#include "graph/graph.h"
#include "graph/scheduler.h"

namespace l2a {

// Seconds that runs of a plan took.
struct PlanTimes {
  std::vector<double> nodes;  // by node
  double copies = 0;          // between backends
};

class Plan {
 public:
  // `backends` in the order in which they are tried for a node whose own backend does not support
  // it.
  Plan(std::shared_ptr<const Graph> graph, std::vector<std::shared_ptr<Backend>> backends);

  // Sets an input. The bytes must be exactly the input's. An input that no node reads is ignored.
  void write(Tensor input, std::span<const std::byte> bytes);
  template <class T>
  void write(Tensor input, std::span<const T> values) {
    write(input, std::as_bytes(values));
  }

  void run();
  // The same, and adds what each node took to `times`, which is made as long as it must be.
  void run(PlanTimes& times);

  // Reads an output after a run: exactly its bytes, contiguous. Of a compact output or a Rows, what
  // lies past its count is not meaningful.
  void read(Tensor output, std::span<std::byte> bytes) const;
  template <class T>
  void read(Tensor output, std::span<T> values) const {
    read(output, std::as_writable_bytes(values));
  }

  const Graph& graph() const { return *graph_; }
  const Schedule& schedule() const { return schedule_; }
  std::size_t arena_bytes() const;  // of all backends
  std::size_t arena_bytes(int backend) const;
  std::size_t arena_bytes_without_reuse() const;  // what the intermediates would take side by side

  // Nodes with shapes and placements, copies, what fell back, arena bytes, operations and bytes per
  // run.
  std::string describe(const CostHints& hints = {}) const;
  // The same as a Graphviz digraph; one colour a backend.
  std::string dot() const;

  // Fills every arena with 0xff, NaN as a float, so that a test notices memory read before it is
  // written.
  void poison();

 private:
  struct RunStep {
    std::unique_ptr<Executable> executable;  // null for a copy
    ValueId copied = kNoValue;
    int to = 0;
  };

  void plan_memory();
  void compile();
  void copy(const RunStep& step);

  std::shared_ptr<const Graph> graph_;
  std::vector<std::shared_ptr<Backend>> backends_;
  Schedule schedule_;
  std::vector<std::shared_ptr<Buffer>> arenas_;  // by backend; null where none is needed
  std::vector<std::vector<Binding>> bindings_;   // by backend, by root value
  std::vector<RunStep> steps_;
  std::vector<std::byte> staging_;  // copies between backends without host addresses
  std::size_t bytes_without_reuse_ = 0;
};

}  // namespace l2a
