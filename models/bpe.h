// Byte-pair merging: a word starts as one token a byte, and the best-ranked neighbouring pair is
// joined until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace l2a {

using TokenLookup = std::function<std::optional<Token>(std::string_view token_text)>;

class Bpe {
 public:
  // Merges are "left right", best first; of a pair that occurs twice the first counts. Throws Error
  // on a merge that is not two token texts, or whose parts or result are not in the vocabulary.
  Bpe(std::span<const std::string> merges, const TokenLookup& find);

  // The memory of a merge, kept from word to word.
  class Workspace {
    friend class Bpe;
    struct Symbol {
      Token token;
      std::int64_t previous, next;  // -1 at the ends
    };
    struct Candidate {
      std::uint32_t rank;
      std::int64_t left;
      Token left_token, right_token;  // as they were: a candidate whose sides have changed is stale
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Appends the tokens of one word in O(n log n). A byte that the vocabulary cannot express is left
  // out, as in the reference: SmolLM2 knows no U+0004, and an "unknown" token there would end the
  // text.
  void encode(std::string_view word, Workspace& workspace, std::vector<Token>& out) const;

 private:
  struct Merge {
    std::uint64_t pair = kEmpty;
    std::uint32_t rank = 0;
    Token merged = 0;
  };
  static constexpr std::uint64_t kEmpty =
      ~std::uint64_t{0};  // no pair, for tokens are not negative

  static std::uint64_t key(Token left, Token right);
  std::size_t slot(std::uint64_t pair) const;
  const Merge* find_merge(Token left, Token right) const;
  void push_candidate(Workspace& workspace, std::int64_t left) const;

  std::array<Token, 256> byte_tokens_;  // kNoToken where the vocabulary has none
  // Open addressing with linear probing, at most half full. This lookup is what encoding spends its
  // time on, and what construction fills 150,000 times.
  std::vector<Merge> table_;
};

}  // namespace l2a
