// The compiled shaders, in the binary (CMakeLists.txt generates the table).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace l2a::vulkan {

struct Spirv {
  std::string_view name;  // "rms_norm", "matvec_q8_0"
  std::span<const std::uint32_t> words;
};

std::span<const Spirv> all_spirv();

// Products by cooperative matrices, of which there are some if the compiler of the build knows them.
inline constexpr std::string_view kCooperativeShader = "matmul_cooperative";

}  // namespace l2a::vulkan
