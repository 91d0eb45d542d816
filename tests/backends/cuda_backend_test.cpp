#ifdef L2A_HAS_CUDA

#include "backends/cuda/cuda_backend.h"

#include <doctest/doctest.h>

#include <utility>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "ops/reference_backend.h"
#include "tests/backends/conformance.h"
#include "tests/gpu_backends.h"
#include "tests/models/test_model.h"

using namespace l2a;

namespace {

test::ConformanceSubject cuda_subject(std::shared_ptr<Backend> backend, double standing_out) {
  // f16 and bf16 weights and caches meet activations and softmax weights rounded to their type: half a unit in the last
  // place, 2^-12 and 2^-9 of each, on top of which scores of some tens are exponents.
  // Caches of blocks are read as f16.
  return {"cuda", std::move(backend), {2e-3, 1.5e-2, 2e-2, 2e-3, standing_out}};
}

}  // namespace

TEST_CASE("the CUDA backend computes what the reference code computes") {
  for (const auto& backend : test::gpu_backends()) {
    const test::ConformanceSubject subjects[] = {cuda_subject(backend, 3e-2)};
    test::check_conformance(test::conformance_cases(), subjects);
  }
}

// Weights, too, are rounded to 127ths of the largest of 256, at most 1/254 of it, and as with activations that averages
// out: the tolerance is the same. But what stands out coarsens 255 others, not 31: an error of sqrt(8) times as much.
TEST_CASE("CUDA products in int8 are those of the reference code") {
  for (const CudaDevice& device : list_cuda_devices()) {
    CudaOptions options{device.index, PrefillPrecision::int8};
    if (device.major != 9) {
      CHECK_THROWS_WITH_AS(make_cuda_backend(options), doctest::Contains("9.0"), Error);
    } else {
      const test::ConformanceSubject subjects[] = {cuda_subject(make_cuda_backend(options), 9e-2)};
      test::check_conformance(test::conformance_cases(), subjects, "matmul");
    }
  }
}

// Fused and chained launches, which single ops do not show. Activations of 8 bits cost some percent on models this
// small, and a step here or there changes which: both backends are held against exact products.
TEST_CASE("quantized models decode on CUDA as closely as on the CPU") {
  const test::TemporaryFolder folder;
  const std::vector<Token> tokens = test::some_tokens(40);
  for (const auto& backend : test::gpu_backends()) {
    for (const std::string name : {"qwen3-tiny", "llama-tiny", "qwen2-tiny"}) {
      CAPTURE(name);
      ConvertOptions options;
      options.source = test::checkpoint(name);
      options.target = folder / "quantized.gguf";
      options.type = Dtype::q8_0;
      convert_checkpoint(options);
      std::vector<std::vector<float>> logits;
      for (const auto& on : {backend, make_cpu_backend(), make_reference_backend()}) {
        const auto model = Model::load(GgufFile::open(options.target), on);
        SessionOptions session_options;
        session_options.context = 40;
        session_options.cache_dtype = Dtype::f32;
        Session session(model, on, {}, session_options);
        logits.push_back(test::logits_of(session, tokens, 1));
      }
      const double cuda_error = test::relative_error(logits[0], logits[2]);
      const double cpu_error = test::relative_error(logits[1], logits[2]);
      CHECK(cpu_error < 5e-2);
      CHECK(cuda_error < 1.5 * cpu_error);
    }
  }
}

TEST_CASE("a CUDA device that is not there is an error that says so") {
  CHECK_THROWS_AS(make_cuda_backend({1000, PrefillPrecision::f16}), Error);
  CHECK_THROWS_AS(make_cuda_backend({-1, PrefillPrecision::f16}), Error);
}

TEST_CASE("CUDA memory that is not there is an error that says what was asked for") {
  for (const auto& backend : test::gpu_backends()) {
    CHECK_THROWS_WITH_AS(backend->allocate(std::size_t{1} << 50),
                         doctest::Contains("1125899906842624"), Error);
    CHECK_NOTHROW(backend->allocate(1 << 20));
  }
}

TEST_CASE("CUDA buffers hold what was written, whatever its size and place") {
  for (const auto& backend : test::gpu_backends()) {
    const std::size_t bytes = (std::size_t{9} << 20) + 13;  // more than one piece of a transfer
    const auto buffer = backend->allocate(bytes);
    std::vector<std::byte> written(bytes - 5), read(bytes);
    for (std::size_t i = 0; i < written.size(); ++i)
      written[i] = static_cast<std::byte>(i * 7 + i / 251);
    buffer->upload(3, written);
    buffer->download(0, read);
    CHECK(read[0] == std::byte{0});
    CHECK(read.back() == std::byte{0});
    CHECK(std::equal(written.begin(), written.end(), read.begin() + 3));
    CHECK_THROWS_AS(buffer->upload(6, written), Error);
    CHECK_THROWS_AS(buffer->download(1, read), Error);
  }
}

#endif
