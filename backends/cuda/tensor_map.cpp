#include "backends/cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <array>

#include "backends/cuda/check.h"
#include "graph/error.h"

namespace l2a::cuda {
namespace {

using Encode = decltype(cuTensorMapEncodeTiled);

// The driver's function, found at run time: nothing here is linked with the driver, which may not be there.
Encode* find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  constexpr const char* kName = "cuTensorMapEncodeTiled";
#if CUDART_VERSION >= 12050
  check(cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &found),
        "looking for cuTensorMapEncodeTiled");
#else
  check(cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &found),
        "looking for cuTensorMapEncodeTiled");
#endif
  if (found != cudaDriverEntryPointSuccess) {
    throw Error("the NVIDIA driver has no cuTensorMapEncodeTiled: it is older than CUDA 12");
  }
  return reinterpret_cast<Encode*>(function);
}

}  // namespace

CUtensorMap tensor_map(Dtype dtype, const void* data, std::span<const std::uint64_t> extents,
                       std::span<const std::uint64_t> strides, std::span<const std::uint32_t> box) {
  static Encode* const encode = find_encode();
  constexpr std::array<std::uint32_t, 5> kSteps{1, 1, 1, 1, 1};
  CUtensorMap map{};
  const CUresult result = encode(
      &map,
      dtype == Dtype::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      static_cast<std::uint32_t>(extents.size()), const_cast<void*>(data), extents.data(),
      strides.data(), box.data(), kSteps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(
        concat("CUDA: describing a tensor to the copy engine: error ", static_cast<int>(result)));
  }
  return map;
}

}  // namespace l2a::cuda
