#include "backends/cpu/limits.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "backends/cpu/tiles.h"
#include "graph/arm_intrinsics.h"
#include "graph/error.h"
#include "graph/host_memory.h"
#include "graph/stopwatch.h"
#include "graph/x86_intrinsics.h"

namespace l2a {
namespace {

constexpr std::size_t kReadBytes = std::size_t{384} << 20;
constexpr int kPasses = 4;
// Chains that are independent of each other hide the latency of an instruction.
constexpr int kChains = 12;
constexpr std::int64_t kSteps = 20'000;  // of a chain; tens of microseconds

// What computed values go to, so that they are computed.
std::atomic<std::uint64_t> sink;

// Inlined into a function of each instruction set: with loads of sixteen bytes a core reads half of what it can with 64.
[[gnu::always_inline]] inline std::uint64_t sum_words(const std::byte* from, std::size_t bytes) {
  constexpr std::size_t kLanes = 32;
  std::uint64_t sums[kLanes] = {};
  for (std::size_t at = 0; at < bytes; at += sizeof sums) {
    std::uint64_t words[kLanes];
    std::memcpy(words, from + at, sizeof words);
    for (std::size_t i = 0; i < kLanes; ++i) sums[i] += words[i];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : sums) sum += lane;
  return sum;
}

using Reader = std::uint64_t (*)(const std::byte* from, std::size_t bytes);

std::uint64_t plain_reader(const std::byte* from, std::size_t bytes) {
  return sum_words(from, bytes);
}
#if defined(__x86_64__)
L2A_AVX2 std::uint64_t avx2_reader(const std::byte* from, std::size_t bytes) {
  return sum_words(from, bytes);
}
L2A_AVX512 std::uint64_t avx512_reader(const std::byte* from, std::size_t bytes) {
  __m512i mixed[4] = {};
  for (std::size_t at = 0; at < bytes; at += sizeof mixed) {
    for (int i = 0; i < 4; ++i)
      mixed[i] = _mm512_xor_si512(mixed[i], _mm512_loadu_si512(from + at + 64 * i));
  }
  return static_cast<std::uint64_t>(_mm512_reduce_or_epi64(
      _mm512_or_si512(_mm512_or_si512(mixed[0], mixed[1]), _mm512_or_si512(mixed[2], mixed[3]))));
}
#endif

double measure_reads(ThreadPool& pool, Reader reader) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
  prefer_large_pages({memory.get(), kReadBytes});
  std::fill_n(memory.get(), kReadBytes, std::byte{1});
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double seconds = seconds_of([&] {
      pool.parallel_for(kReadBytes / kPiece, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          sink += reader(memory.get() + static_cast<std::size_t>(i) * kPiece, kPiece);
      });
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds);
  }
  return best;
}

// Operations that were done.
using Chains = double (*)();

double plain_float_chains() {
  constexpr int kLanes = 32;
  float sums[kLanes], a = 0.5f, b = 0.25f;
  for (int i = 0; i < kLanes; ++i) sums[i] = static_cast<float>(i);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (float& sum : sums) sum = sum * a + b;
  }
  float all = 0;
  for (const float sum : sums) all += sum;
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * kLanes * kSteps;
}

#if defined(__x86_64__)

L2A_AVX2 double avx2_float_chains() {
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  __m256 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, a, b);
  }
  float all = 0;
  for (const __m256 sum : sums) all += _mm256_cvtss_f32(sum);
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * 8 * kChains * kSteps;
}

// Products of bytes added in pairs, pairs added in pairs, and those to the sum: three instructions.
L2A_AVX2 double avx2_integer_chains() {
  const __m256i ones = _mm256_set1_epi16(1), s = _mm256_set1_epi8(3);
  __m256i sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_set1_epi8(static_cast<char>(i));
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (__m256i& sum : sums) {
      const __m256i products = _mm256_madd_epi16(_mm256_maddubs_epi16(sum, s), ones);
      sum = _mm256_add_epi32(sum, products);
    }
  }
  int all = 0;
  for (const __m256i sum : sums) all ^= _mm256_extract_epi32(sum, 0);
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * 32 * kChains * kSteps;
}

L2A_AVX512 double avx512_float_chains() {
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  }
  float all = 0;
  for (const __m512 sum : sums) all += _mm512_cvtss_f32(sum);
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * 16 * kChains * kSteps;
}

L2A_AVX512 double avx512_integer_chains() {
  const __m512i u = _mm512_set1_epi8(2), s = _mm512_set1_epi8(3);
  __m512i sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_epi32(i);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, u, s);
  }
  int all = 0;
  for (const __m512i sum : sums) all ^= _mm_cvtsi128_si32(_mm512_castsi512_si128(sum));
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * 64 * kChains * kSteps;
}

// Four tiles of sums: more could not be fed.
L2A_AMX double amx_bf16_chains() {
  const x86::TileScope tiles;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return 2.0 * 16 * 16 * 32 * 4 * kSteps;
}

#elif defined(__aarch64__)

L2A_DOTPROD double neon_integer_chains() {
  const int8x16_t a = vdupq_n_s8(2), b = vdupq_n_s8(3);
  int32x4_t sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = vdupq_n_s32(i);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (int32x4_t& sum : sums) sum = vdotq_s32(sum, a, b);
  }
  int all = 0;
  for (const int32x4_t sum : sums) all ^= vgetq_lane_s32(sum, 0);
  sink += static_cast<std::uint64_t>(all);
  return 2.0 * 16 * kChains * kSteps;
}

#endif

struct Instructions {
  Reader reader;
  Chains floats, integers, bf16;  // all but floats may be null
  const char* how;
};

Instructions instructions_of([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level == SimdLevel::amx) {
    return {avx512_reader, avx512_float_chains, avx512_integer_chains, amx_bf16_chains,
            "AVX-512 FMA and AMX bf16"};
  }
  if (level == SimdLevel::avx512) {
    return {avx512_reader, avx512_float_chains, avx512_integer_chains, nullptr,
            "AVX-512 FMA and VNNI"};
  }
  if (level == SimdLevel::avx2) {
    return {avx2_reader, avx2_float_chains, avx2_integer_chains, nullptr, "AVX2 FMA"};
  }
#elif defined(__aarch64__)
  // Plain C++ becomes NEON's multiply-adds and loads by itself.
  if (level == SimdLevel::neon) {
    return {plain_reader, plain_float_chains, neon_integer_chains, nullptr,
            "NEON FMA and dot products"};
  }
#endif
  return {plain_reader, plain_float_chains, nullptr, nullptr, "plain C++"};
}

double measure_products(ThreadPool& pool, Chains chains) {
  if (chains == nullptr) return 0;
  const std::int64_t pieces = std::int64_t{16} * pool.threads();
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<double> operations = 0;
    const double seconds = seconds_of([&] {
      pool.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) operations += chains();
      });
    });
    best = std::max(best, operations / seconds);
  }
  return best;
}

}  // namespace

Limits measure_cpu_limits(ThreadPool& pool, SimdLevel level) {
  const Instructions best = instructions_of(level);
  Limits limits;
  limits.read_bytes = measure_reads(pool, best.reader);
  limits.float_operations = measure_products(pool, best.floats);
  limits.integer_operations = measure_products(pool, best.integers);
  limits.bf16_operations = measure_products(pool, best.bf16);
  limits.how = concat(best.how, ", ", pool.threads(), pool.threads() == 1 ? " thread" : " threads");
  return limits;
}

}  // namespace l2a
