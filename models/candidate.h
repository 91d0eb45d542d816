// A token that may come next.
#pragma once

#include "models/tokenizer.h"

namespace l2a {

struct Candidate {
  float logit = 0;
  Token token = 0;
};

}  // namespace l2a
