// A fact hidden in a long text and asked for at its end: whether a model finds what it read long ago.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace l2a {

struct Needle {
  std::string fact;      // a sentence, on a line of its own
  std::string question;  // the sentence again, up to the number
  std::string number;    // five digits
};

// The same for the same number always; other places and numbers for other ones.
Needle make_needle(std::uint64_t which);

// A prompt of exactly `length` tokens: the beginning of `text`, with the fact put in at `depth` (0 to 1) of it, moved
// back to the start of a line where one is near, and the question at the end. Throws Error when the text is too short,
// or the length too small for fact and question.
std::vector<Token> hide(const Needle& needle, std::span<const Token> text,
                        const Tokenizer& tokenizer, std::int64_t length, double depth);

// Whether the first number of the answer is the needle's.
bool found(const Needle& needle, std::string_view answer);

// Shares of needles found, by length and depth.
struct NeedleGrid {
  std::string model;  // and how it was run: a title
  std::vector<std::int64_t> lengths;
  std::vector<double> depths;      // 0 to 1
  std::int64_t trials = 1;         // a cell
  std::vector<std::int64_t> hits;  // [lengths, depths]
  std::int64_t trained = 0;        // tokens that the model was trained for

  std::int64_t hits_of(std::size_t length, std::size_t depth) const {
    return hits[length * depths.size() + depth];
  }
  std::int64_t total() const;
};

// As a table; lengths beyond what the model was trained for are marked. Ends with a newline.
std::string needle_table(const NeedleGrid& grid);
// As an image that needs nothing else, readable on light and on dark pages.
std::string needle_svg(const NeedleGrid& grid);

}  // namespace l2a
