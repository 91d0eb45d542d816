// A backend that runs every op by its reference code: slow, plain, and what all others are compared
// with.
#pragma once

#include <memory>

#include "graph/backend.h"

namespace l2a {

std::shared_ptr<Backend> make_reference_backend();

}  // namespace l2a
