// Eight candidates a vector.
#include "convert/encode/levels.h"
#include "graph/x86_intrinsics.h"

#define L2A_LEVEL L2A_AVX2

namespace l2a::encode {

#if defined(__x86_64__)
namespace {

using Vec = __m256;

L2A_AVX2 inline Vec spread(float x) { return _mm256_set1_ps(x); }
L2A_AVX2 inline Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
L2A_AVX2 inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
L2A_AVX2 inline Vec nearest(Vec v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

#include "convert/encode/grid_search.inc"

}  // namespace

const GridSearch kGridSearchAvx2 = {refine, measure};
#else
const GridSearch kGridSearchAvx2 = {};
#endif

}  // namespace l2a::encode
