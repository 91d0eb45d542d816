#include "examples/common/needle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "examples/common/html_text.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr std::array kPlaces = {"Lisbon", "Oslo",  "Quito",  "Nairobi", "Hanoi", "Prague",
                                "Lima",   "Cairo", "Dublin", "Jakarta", "Tunis", "Ottawa"};
// How far back the start of a line may be from where the fact is to stand, in tokens.
constexpr std::size_t kNear = 32;

std::string percent(double share) { return concat(std::lround(100 * share), "%"); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Needle make_needle(std::uint64_t which) {
  std::uint64_t x = (which + 1) * 0x9e3779b97f4a7c15U;  // splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  x ^= x >> 31;
  Needle needle;
  needle.number = std::to_string(10000 + x % 90000);
  needle.question = concat("The secret number of ", kPlaces[(x >> 32) % kPlaces.size()], " is");
  needle.fact = concat(needle.question, " ", needle.number, ".");
  return needle;
}

std::vector<Token> hide(const Needle& needle, std::span<const Token> text,
                        const Tokenizer& tokenizer, std::int64_t length, double depth) {
  const std::vector<Token> fact = tokenizer.encode("\n" + needle.fact + "\n");
  const std::vector<Token> question = tokenizer.encode("\n\n" + needle.question);
  const auto around = static_cast<std::int64_t>(fact.size() + question.size());
  if (length <= 2 * around)
    throw Error(concat("a length of ", length, " tokens has no room for a text around the fact"));
  const auto room = static_cast<std::size_t>(length - around);
  if (text.size() < room) {
    throw Error(concat("the text has ", text.size(), " tokens, and a length of ", length, " takes ",
                       room, ": name more files after -f"));
  }
  auto at = static_cast<std::size_t>(std::llround(depth * static_cast<double>(room)));
  for (std::size_t back = 0; back < std::min(kNear, at); ++back) {
    const Token before = text[at - back - 1];
    if (!tokenizer.decode({&before, 1}).ends_with('\n')) continue;
    at -= back;
    break;
  }
  std::vector<Token> prompt(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at));
  prompt.insert(prompt.end(), fact.begin(), fact.end());
  prompt.insert(prompt.end(), text.begin() + static_cast<std::ptrdiff_t>(at),
                text.begin() + static_cast<std::ptrdiff_t>(room));
  prompt.insert(prompt.end(), question.begin(), question.end());
  return prompt;
}

bool found(const Needle& needle, std::string_view answer) {
  const auto first = std::find_if(answer.begin(), answer.end(), is_digit);
  const auto last = std::find_if_not(first, answer.end(), is_digit);
  return std::string_view(first, last) == needle.number;
}

std::int64_t NeedleGrid::total() const {
  return std::accumulate(hits.begin(), hits.end(), std::int64_t{0});
}

std::string needle_table(const NeedleGrid& grid) {
  std::ostringstream out;
  out << "tokens  depth";
  for (const double depth : grid.depths) out << std::setw(5) << percent(depth);
  out << "   found\n";
  bool beyond = false;
  for (std::size_t l = 0; l < grid.lengths.size(); ++l) {
    const bool marked = grid.lengths[l] > grid.trained;
    beyond = beyond || marked;
    out << std::setw(6) << grid.lengths[l] << (marked ? "*" : " ") << std::setw(6) << "";
    std::int64_t hits = 0;
    for (std::size_t d = 0; d < grid.depths.size(); ++d) {
      const std::int64_t cell = grid.hits_of(l, d);
      hits += cell;
      out << std::setw(5)
          << (cell == 0          ? std::string(".")
              : grid.trials == 1 ? std::string("#")
                                 : std::to_string(cell));
    }
    const std::int64_t asked = static_cast<std::int64_t>(grid.depths.size()) * grid.trials;
    out << "   " << hits << " of " << asked << "\n";
  }
  if (beyond) out << "* beyond the " << grid.trained << " tokens that the model was trained for\n";
  return out.str();
}

std::string needle_svg(const NeedleGrid& grid) {
  constexpr double kLeft = 70, kTop = 44, kCell = 44, kRow = 30, kGap = 2;
  const double width = kLeft + kCell * static_cast<double>(grid.depths.size()) + 90;
  const double height = kTop + kRow * static_cast<double>(grid.lengths.size()) + 44;
  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << " " << height
      << "\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<style>\n"
         "svg { --text: #1b1f24; --none: #d0d7de; --all: #1a7f37; --page: #ffffff; }\n"
         "@media (prefers-color-scheme: dark) {\n"
         "  svg { --text: #e6edf3; --none: #30363d; --all: #3fb950; --page: #0d1117; }\n}\n"
         "text { fill: var(--text); } .page { fill: var(--page); } .none { fill: var(--none); }\n"
         ".hit { fill: var(--all); }\n</style>\n<rect class=\"page\" width=\"100%\" "
         "height=\"100%\"/>\n<text x=\"10\" y=\"18\">"
      << html_escaped(grid.model) << "</text>\n";
  for (std::size_t d = 0; d < grid.depths.size(); ++d) {
    out << "<text x=\"" << kLeft + kCell * (static_cast<double>(d) + 0.5) << "\" y=\"" << kTop - 6
        << "\" text-anchor=\"middle\">" << percent(grid.depths[d]) << "</text>\n";
  }
  for (std::size_t l = 0; l < grid.lengths.size(); ++l) {
    const double y = kTop + kRow * static_cast<double>(l);
    std::int64_t hits = 0;
    out << "<text x=\"" << kLeft - 8 << "\" y=\"" << y + kRow / 2 + 4 << "\" text-anchor=\"end\">"
        << grid.lengths[l] << (grid.lengths[l] > grid.trained ? "*" : "") << "</text>\n";
    for (std::size_t d = 0; d < grid.depths.size(); ++d) {
      const std::int64_t cell = grid.hits_of(l, d);
      hits += cell;
      const double x = kLeft + kCell * static_cast<double>(d);
      const auto rect = [&](const char* kind, double opacity) {
        out << "<rect class=\"" << kind << "\" x=\"" << x << "\" y=\"" << y << "\" width=\""
            << kCell - kGap << "\" height=\"" << kRow - kGap << "\" rx=\"3\" opacity=\"" << opacity
            << "\"><title>" << grid.lengths[l] << " tokens, depth " << percent(grid.depths[d])
            << ": " << cell << " of " << grid.trials << "</title></rect>\n";
      };
      rect("none", 1);
      if (cell > 0) rect("hit", static_cast<double>(cell) / static_cast<double>(grid.trials));
    }
    out << "<text x=\"" << kLeft + kCell * static_cast<double>(grid.depths.size()) + 8 << "\" y=\""
        << y + kRow / 2 + 4 << "\">" << hits << " of "
        << static_cast<std::int64_t>(grid.depths.size()) * grid.trials << "</text>\n";
  }
  const bool beyond = std::any_of(grid.lengths.begin(), grid.lengths.end(),
                                  [&](std::int64_t length) { return length > grid.trained; });
  out << "<text x=\"10\" y=\"" << height - 26
      << "\">facts found, by tokens of text and depth of the "
      << "fact</text>\n";
  if (beyond) {
    out << "<text x=\"10\" y=\"" << height - 9 << "\">* beyond the " << grid.trained
        << " tokens that the model was trained for</text>\n";
  }
  out << "</svg>\n";
  return out.str();
}

}  // namespace l2a
