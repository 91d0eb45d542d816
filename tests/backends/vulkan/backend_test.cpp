// What the Vulkan backend promises beside its kernels: memory, times, errors, and its cache on disk.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "graph/error.h"
#include "graph/plan.h"
#include "ops/add.h"
#include "ops/dequantize.h"
#include "ops/matmul.h"
#include "ops/quantize.h"
#include "ops/rms_norm.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

// y = rms_norm(x + x), of one row.
struct SmallPlan {
  explicit SmallPlan(const std::shared_ptr<Backend>& backend) {
    GraphBuilder graph;
    const std::vector<float> ones(8, 1.0f);
    auto buffer = backend->allocate(sizeof(float) * ones.size());
    buffer->upload(0, std::as_bytes(std::span(ones)));
    x = graph.input("x", Dtype::f32, {1, 8});
    y = rms_norm(graph, add(graph, x, x), graph.weight("w", Dtype::f32, {8}, buffer), 0);
    graph.output(y);
    plan = std::make_unique<Plan>(graph.build(), std::vector{backend});
    plan->write(x, std::span<const float>(std::vector<float>(8, 3.0f)));
  }
  std::vector<float> result() {
    std::vector<float> values(8);
    plan->read(y, std::span<float>(values));
    return values;
  }
  Tensor x, y;
  std::unique_ptr<Plan> plan;
};

void check_works(const std::shared_ptr<Backend>& backend) {
  SmallPlan small(backend);
  small.plan->run();
  for (const float value : small.result()) CHECK(value == doctest::Approx(1));
}

std::filesystem::path only_file(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  REQUIRE(files.size() == 1);
  return files.front();
}

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("compiled pipelines are kept on disk, and what is damaged there is made again") {
  const TemporaryFolder folder;
  VulkanOptions options;
  options.cache_folder = (folder / "cache").string();
  check_works(make_vulkan_backend(options));
  const std::filesystem::path file = only_file(folder / "cache");
  const std::string good = contents(file);
  CHECK(good.size() > 8);
  std::string flipped = good;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  for (const std::string& bad :
       {std::string("nonsense"), std::string(), good.substr(0, 9), flipped}) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bad;
    check_works(make_vulkan_backend(options));
    CHECK(contents(file) != bad);
  }
}

TEST_CASE("a cache that cannot be written is no failure") {
  const TemporaryFolder folder;
  VulkanOptions options;
  options.cache_folder = (folder.write("file", "in the way") / "cache").string();
  check_works(make_vulkan_backend(options));
}

TEST_CASE("a plan on Vulkan tells what each node took") {
  ValidatedBackend vulkan;
  SmallPlan small(vulkan.backend());
  PlanTimes times;
  small.plan->run(times);
  small.plan->run(times);
  REQUIRE(times.nodes.size() == 2);
  for (const double seconds : times.nodes) {
    CHECK(seconds > 0);
    CHECK(seconds < 60);
  }
  for (const float value : small.result()) CHECK(value == doctest::Approx(1));
}

TEST_CASE("the limits of a Vulkan device are measured") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  ValidatedBackend vulkan(options);
  const Limits limits = vulkan.backend()->measure_limits();
  CHECK(limits.read_bytes > 1e7);
  CHECK(limits.read_bytes < 1e14);
  CHECK(limits.float_operations > 1e7);
  CHECK(limits.float_operations < 1e16);
}

TEST_CASE("new memory is zero, mapped or not, and copies stay within it") {
  for (const bool map : {true, false}) {
    VulkanOptions options;
    options.map_memory = map;
    ValidatedBackend vulkan(options);
    const auto buffer = vulkan.backend()->allocate(1000);
    std::vector<std::byte> bytes(1000, std::byte{7});
    buffer->download(0, bytes);
    CHECK(bytes == std::vector<std::byte>(1000));
    CHECK_THROWS_AS(buffer->download(1, bytes), Error);
    CHECK_THROWS_AS(buffer->upload(1001, {}), Error);
    // More than the staging buffer holds at a time.
    std::vector<std::byte> many((std::size_t{33} << 20) + 5);
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::byte>(i * 7 >> 3);
    const auto large = vulkan.backend()->import(many, nullptr);
    std::vector<std::byte> back(many.size());
    large->download(0, back);
    CHECK(back == many);
  }
}

TEST_CASE("copies of weights whose rows a GPU splits are as if it had not") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  ValidatedBackend vulkan(options);
  // Of 40 blocks, so that the last are fewer than those whose halves lie together.
  constexpr std::int64_t kWidth = 1280, kRows = 3;
  std::vector<float> values(kWidth * kRows);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7 % 23) - 11;
  std::vector<std::byte> blocks(dtype_bytes(Dtype::q8_0, kWidth * kRows));
  quantize_row(Dtype::q8_0, values, blocks);
  const auto buffer = vulkan.backend()->import(blocks, nullptr);

  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {1, kWidth});
  const Tensor y = matmul(graph, x, graph.weight("w", Dtype::q8_0, {kRows, kWidth}, buffer));
  graph.output(y);
  Plan plan(graph.build(), std::vector{vulkan.backend()});
  std::vector<float> ones(kWidth, 1.0f), sums(kRows);
  plan.write(x, std::span<const float>(ones));
  const auto check_sums = [&] {
    plan.run();
    plan.read(y, std::span<float>(sums));
    for (std::size_t row = 0; row < sums.size(); ++row) {
      std::vector<float> of_row(kWidth);
      const std::size_t bytes = dtype_bytes(Dtype::q8_0, kWidth);
      dequantize_row(Dtype::q8_0, std::span(blocks).subspan(row * bytes, bytes), of_row);
      CHECK(sums[row] ==
            doctest::Approx(std::accumulate(of_row.begin(), of_row.end(), 0.0)).epsilon(1e-3));
    }
  };
  check_sums();
  std::vector<std::byte> back(blocks.size());
  buffer->download(0, back);
  CHECK(back == blocks);
  // From within a row to within the next.
  constexpr std::size_t kAt = 1001, kBytes = 1500;
  back.resize(kBytes);
  buffer->download(kAt, back);
  CHECK(std::equal(back.begin(), back.end(), blocks.begin() + kAt));
  // Of other blocks, those of the row before.
  const std::size_t block = dtype_bytes(Dtype::q8_0, 32);
  std::copy_n(blocks.begin(), 30 * block, blocks.begin() + static_cast<std::ptrdiff_t>(33 * block));
  buffer->upload(33 * block, std::span(blocks).subspan(33 * block, 30 * block));
  check_sums();
  back.resize(blocks.size());
  buffer->download(0, back);
  CHECK(back == blocks);
}

TEST_CASE("errors name the device and what it lacks") {
  const std::vector<VulkanDeviceInfo> devices = list_vulkan_devices();
  REQUIRE(!devices.empty());
  VulkanOptions options;
  options.device = static_cast<int>(devices.size());
  CHECK(contains(message_of<Error>([&] { make_vulkan_backend(options); }),
                 concat("there is no device ", devices.size())));
  const auto backend = make_vulkan_backend();
  const std::string message = message_of<Error>([&] { backend->allocate(std::size_t{1} << 62); });
  CHECK_MESSAGE(contains(message, "vulkan ("), message);
  CHECK_MESSAGE(contains(message, "4611686018427387904 bytes"), message);
}
