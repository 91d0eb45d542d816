#include "graph/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>

#include "graph/error.h"

namespace l2a {
namespace {

// In the order of the enum. Block sizes: GGUF v3 specification, "Quantization types".
constexpr std::array<DtypeInfo, kDtypeCount> kInfo = {{
    {"f32", 1, 4, false},
    {"f16", 1, 2, false},
    {"bf16", 1, 2, false},
    {"i32", 1, 4, false},
    {"q4_0", 32, 18, true},
    {"q4_1", 32, 20, true},
    {"q5_0", 32, 22, true},
    {"q5_1", 32, 24, true},
    {"q8_0", 32, 34, true},
    {"q4_k", 256, 144, true},
    {"q5_k", 256, 176, true},
    {"q6_k", 256, 210, true},
}};

}  // namespace

const DtypeInfo& dtype_info(Dtype dtype) { return kInfo[static_cast<std::size_t>(dtype)]; }

std::optional<Dtype> dtype_from_name(std::string_view name) {
  auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (int i = 0; i < kDtypeCount; ++i) {
    const std::string_view known = kInfo[i].name;
    if (std::equal(name.begin(), name.end(), known.begin(), known.end(), same)) {
      return static_cast<Dtype>(i);
    }
  }
  return std::nullopt;
}

std::size_t dtype_bytes(Dtype dtype, std::int64_t elements) {
  const DtypeInfo& info = dtype_info(dtype);
  if (elements < 0 || elements % info.block_elements != 0) {
    throw Error(concat(elements, " values are not a whole number of ", info.name, " blocks of ",
                       info.block_elements));
  }
  const std::int64_t blocks = elements / info.block_elements;
  if (blocks > std::numeric_limits<std::int64_t>::max() / info.block_bytes) {
    throw Error(concat(elements, " ", info.name, " values overflow a 64-bit size"));
  }
  return static_cast<std::size_t>(blocks * info.block_bytes);
}

}  // namespace l2a
