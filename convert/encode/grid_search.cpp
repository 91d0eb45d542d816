#include "convert/encode/grid_search.h"

#include <algorithm>
#include <bit>

#include "convert/encode/levels.h"

namespace l2a::encode {

// First the value and then its place: no branch depends on the errors. Beside blocks of 16 or 32
// values, sixteen mispredicted comparisons would be seen.
int Candidates::best() const {
  float least[kCandidates];
  std::copy_n(error, kCandidates, least);
  for (int half = kCandidates / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
    }
  }
  unsigned equal = 0;
  for (int i = 0; i < kCandidates; ++i) {
    equal |= static_cast<unsigned>(error[i] == least[0]) << i;
  }
  return std::countr_zero(equal);
}

const GridSearch& grid_search(SimdLevel level) {
  if (level >= SimdLevel::avx512) return kGridSearchAvx512;
  if (level == SimdLevel::avx2) return kGridSearchAvx2;
  return kGridSearchGeneric;
}

}  // namespace l2a::encode
