// The text that routers are fitted to and judged by, in pieces that the model reads from an empty cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/tokenizer.h"

namespace l2a {

using Contexts = std::vector<std::vector<Token>>;

std::int64_t token_count(const Contexts& contexts);

struct FitTextOptions {
  std::vector<std::string> texts,
      held_out;  // files; of the first every fifth is held out where there are none others
  std::int64_t context = 0;  // most tokens of a piece
  std::int64_t reach = 0;    // positions of a piece that see every key as it is
  std::int64_t tokens = 0;   // about so many to fit to, and a quarter as many to judge by; 0: all
};

struct FitTexts {
  Contexts fitted, held_out;
};
// Throws Error when a text is not UTF-8 or they are too short.
FitTexts read_fit_texts(const FitTextOptions& options, const Tokenizer& tokenizer,
                        std::int64_t vocabulary);

}  // namespace l2a
