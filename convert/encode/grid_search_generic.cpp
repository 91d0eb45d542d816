// Plain C++ of any machine; GNU vectors of four floats, which every machine of today has.
#include "convert/encode/levels.h"

#define L2A_LEVEL

namespace l2a::encode {
namespace {

using Vec [[gnu::vector_size(16)]] = float;

inline Vec spread(float x) { return Vec{x, x, x, x}; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
// Adding 1.5 · 2^23 leaves no bits for a fraction.
inline Vec nearest(Vec v) { return v + spread(0x1.8p23f) - spread(0x1.8p23f); }

#include "convert/encode/grid_search.inc"

}  // namespace

const GridSearch kGridSearchGeneric = {refine, measure};

}  // namespace l2a::encode
