// Builds a small graph from installed headers, runs it on the CPU and samples from what it computed.
#include <l2a/backends/cpu/cpu_backend.h>
#include <l2a/graph/error.h>
#include <l2a/graph/plan.h>
#include <l2a/models/sampler.h>
#include <l2a/models/session.h>
#include <l2a/ops/add.h>
#include <l2a/ops/matmul.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <span>
#include <vector>

namespace {

std::shared_ptr<l2a::Buffer> upload(l2a::Backend& backend, std::span<const float> values) {
  auto buffer = backend.allocate(values.size_bytes());
  buffer->upload(0, std::as_bytes(values));
  return buffer;
}

// x · wᵀ + b
std::vector<float> logits_of(const std::shared_ptr<l2a::Backend>& backend) {
  constexpr std::array<float, 6> kWeight = {1, 2, 3, 4, 5, 6};
  constexpr std::array<float, 2> kBias = {0.5F, -20};
  constexpr std::array<float, 3> kX = {1, 0, 2};
  l2a::GraphBuilder graph;
  const auto x = graph.input("x", l2a::Dtype::f32, {1, 3});
  const auto weight = graph.weight("w", l2a::Dtype::f32, {2, 3}, upload(*backend, kWeight));
  const auto bias = graph.weight("b", l2a::Dtype::f32, {2}, upload(*backend, kBias));
  const auto y = l2a::add(graph, l2a::matmul(graph, x, weight), bias);
  graph.output(y);
  l2a::Plan plan(graph.build(), {backend});
  plan.write(x, std::span<const float>(kX));
  plan.run();
  std::vector<float> logits(2);
  plan.read(y, std::span(logits));
  return logits;
}

// Links the models layer too: a file that is not there is an error that says so.
bool refuses_missing_model(const std::shared_ptr<l2a::Backend>& backend) {
  try {
    const auto file = l2a::GgufFile::open("no-such.gguf");
    const l2a::Session session(l2a::Model::load(file, backend), backend, {}, {});
    return false;
  } catch (const l2a::FileError&) {
    return true;
  }
}

}  // namespace

int main() {
  const auto backend = l2a::make_cpu_backend({.threads = 1, .level = {}});
  const auto logits = logits_of(backend);
  l2a::Sampler greedy({.temperature = 0});
  const auto token = greedy.sample(logits);
  const bool right = logits == std::vector<float>{7.5F, -4} && token == 0;
  if (!right || !refuses_missing_model(backend)) {
    std::cerr << "wrong: " << logits[0] << ", " << logits[1] << ", token " << token << "\n";
    return EXIT_FAILURE;
  }
  std::cout << "consumer: right\n";
  return EXIT_SUCCESS;
}
