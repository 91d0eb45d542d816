#include "convert/encode/grid_search.h"

#include <algorithm>

#include "convert/encode/levels.h"

namespace l2a::encode {

int Candidates::best() const {
  return static_cast<int>(std::min_element(error, error + kCandidates) - error);
}

const GridSearch& grid_search(SimdLevel level) {
  switch (level) {
    case SimdLevel::avx512:
      return kGridSearchAvx512;
    case SimdLevel::avx2:
      return kGridSearchAvx2;
    case SimdLevel::generic:
      break;
  }
  return kGridSearchGeneric;
}

}  // namespace l2a::encode
