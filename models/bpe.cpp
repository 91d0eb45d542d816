#include "models/bpe.h"

#include <algorithm>
#include <bit>

#include "graph/error.h"
#include "models/byte_level.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr Token kNoToken = -1;

// The best rank first and, of equal ranks, the leftmost.
struct IsWorse {
  template <class Candidate>
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

struct MergeText {
  std::string_view left, right;
};

MergeText split_merge(const std::string& merge, std::size_t index) {
  const std::size_t space = merge.find(' ');
  const bool is_pair = space != std::string::npos && space > 0 && space + 1 < merge.size() &&
                       merge.find(' ', space + 1) == std::string::npos;
  if (!is_pair) {
    throw Error(concat("tokenizer merge ", index, " ", quote(merge), " is not two tokens"));
  }
  const std::string_view text = merge;
  return {text.substr(0, space), text.substr(space + 1)};
}

}  // namespace

Bpe::Bpe(std::span<const std::string> merges, const TokenLookup& find)
    : table_(std::bit_ceil(2 * merges.size() + 2)) {
  for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    byte_tokens_[byte] =
        find(byte_level_symbol(static_cast<std::uint8_t>(byte))).value_or(kNoToken);
  }
  std::string joined;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto [left, right] = split_merge(merges[i], i);
    joined.assign(left).append(right);
    const auto require = [&](std::string_view text) {
      const std::optional<Token> token = find(text);
      if (!token) {
        throw Error(concat("tokenizer merge ", i, " ", quote(merges[i]), " uses ", quote(text),
                           ", which is not in the vocabulary"));
      }
      return *token;
    };
    const std::uint64_t pair = key(require(left), require(right));
    Merge& merge = table_[slot(pair)];
    if (merge.pair == kEmpty) merge = {pair, static_cast<std::uint32_t>(i), require(joined)};
  }
}

std::uint64_t Bpe::key(Token left, Token right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

std::size_t Bpe::slot(std::uint64_t pair) const {
  const std::size_t mask = table_.size() - 1;
  const std::uint64_t mixed = pair * 0x9E3779B97F4A7C15u;
  std::size_t at = static_cast<std::size_t>(mixed ^ mixed >> 32) & mask;
  while (table_[at].pair != kEmpty && table_[at].pair != pair) at = (at + 1) & mask;
  return at;
}

const Bpe::Merge* Bpe::find_merge(Token left, Token right) const {
  const Merge& merge = table_[slot(key(left, right))];
  return merge.pair == kEmpty ? nullptr : &merge;
}

void Bpe::push_candidate(Workspace& workspace, std::int64_t left) const {
  if (left < 0) return;
  const auto& symbols = workspace.symbols_;
  const auto& first = symbols[static_cast<std::size_t>(left)];
  if (first.next < 0) return;
  const Token right_token = symbols[static_cast<std::size_t>(first.next)].token;
  if (const Merge* merge = find_merge(first.token, right_token)) {
    workspace.heap_.push_back({merge->rank, left, first.token, right_token});
    std::push_heap(workspace.heap_.begin(), workspace.heap_.end(), IsWorse{});
  }
}

void Bpe::encode(std::string_view word, Workspace& workspace, std::vector<Token>& out) const {
  auto& symbols = workspace.symbols_;
  auto& heap = workspace.heap_;
  symbols.clear();
  heap.clear();
  for (const char c : word) {
    const Token token = byte_tokens_[static_cast<unsigned char>(c)];
    if (token == kNoToken) continue;
    const auto at = static_cast<std::int64_t>(symbols.size());
    symbols.push_back({token, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    push_candidate(workspace, static_cast<std::int64_t>(i));
  }

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), IsWorse{});
    const auto candidate = heap.back();
    heap.pop_back();
    auto& left = symbols[static_cast<std::size_t>(candidate.left)];
    if (left.token != candidate.left_token || left.next < 0) continue;
    auto& right = symbols[static_cast<std::size_t>(left.next)];
    if (right.token != candidate.right_token) continue;

    left.token = find_merge(candidate.left_token, candidate.right_token)->merged;
    left.next = right.next;
    right.token = kNoToken;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = candidate.left;
    push_candidate(workspace, left.previous);
    push_candidate(workspace, candidate.left);
  }

  for (std::int64_t at = 0; at >= 0; at = symbols[static_cast<std::size_t>(at)].next) {
    out.push_back(symbols[static_cast<std::size_t>(at)].token);
  }
}

}  // namespace l2a
