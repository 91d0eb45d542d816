// The encoders behind encode_rows, one file a family of types.
#pragma once

#include <cstddef>

#include "convert/encode/grid_search.h"
#include "graph/dtype.h"

namespace l2a::encode {

// Encodes one block of the file: 32 or 256 finite values. `importance` has a factor for each, or
// is null. Throws Error when a scale is beyond f16.
using EncodeBlock = void (*)(const GridSearch& search, const float* values, const float* importance,
                             std::byte* out);

EncodeBlock blocks32_encoder(Dtype dtype);  // q4_0, q4_1, q5_0, q5_1
EncodeBlock k_affine_encoder(Dtype dtype);  // q4_k, q5_k
EncodeBlock q6_k_encoder();

}  // namespace l2a::encode
