// One table a level of grid_search.h; null where the program is for another kind of machine.
#pragma once

#include "convert/encode/grid_search.h"

namespace l2a::encode {

extern const GridSearch kGridSearchGeneric;
extern const GridSearch kGridSearchAvx2;
extern const GridSearch kGridSearchAvx512;

}  // namespace l2a::encode
