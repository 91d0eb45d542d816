// Tensors as Hopper's copy engine knows them.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

#include "graph/dtype.h"

namespace l2a::cuda {

// A tensor of f16 or bf16 and the box that one copy brings, the innermost extent first; `strides` are in bytes, of all
// extents but the innermost. A box's innermost extent is 64 values, of which shared memory holds rows of 128 bytes, their
// 16-byte parts permuted by the row's low three bits. The address and the strides are multiples of 16.
CUtensorMap tensor_map(Dtype dtype, const void* data, std::span<const std::uint64_t> extents,
                       std::span<const std::uint64_t> strides, std::span<const std::uint32_t> box);

}  // namespace l2a::cuda
