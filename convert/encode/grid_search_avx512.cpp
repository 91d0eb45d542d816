// Sixteen candidates a vector.
#include "convert/encode/levels.h"
#include "graph/x86_intrinsics.h"

#define L2A_LEVEL L2A_AVX512

namespace l2a::encode {

#if defined(__x86_64__)
namespace {

using Vec = __m512;

L2A_AVX512 inline Vec spread(float x) { return _mm512_set1_ps(x); }
L2A_AVX512 inline Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }
L2A_AVX512 inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
L2A_AVX512 inline Vec nearest(Vec v) {
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

#include "convert/encode/grid_search.inc"

}  // namespace

const GridSearch kGridSearchAvx512 = {refine, measure};
#else
const GridSearch kGridSearchAvx512 = {};
#endif

}  // namespace l2a::encode
