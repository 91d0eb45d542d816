#include "examples/common/fit_texts.h"

#include <algorithm>
#include <utility>

#include "examples/common/text_input.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr std::int64_t kHeldOutEvery = 5;

// Pieces of at most the context, each long enough to have something to route: the first of each document, then the
// second of each, and so on, so that fewer tokens are still of many documents.
Contexts cut(const Documents& documents, const FitTextOptions& options) {
  Contexts contexts;
  const auto size = static_cast<std::size_t>(options.context);
  std::size_t longest = 0;
  for (const auto& document : documents.tokens) longest = std::max(longest, document.size());
  for (std::size_t begin = 0; begin < longest; begin += size) {
    for (const auto& document : documents.tokens) {
      if (begin >= document.size()) continue;
      const std::size_t count = std::min(size, document.size() - begin);
      if (count <= 2 * static_cast<std::size_t>(options.reach) && count < size) continue;
      const auto first = document.begin() + static_cast<std::ptrdiff_t>(begin);
      contexts.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
      if (documents.bos) contexts.back().front() = *documents.bos;
    }
  }
  return contexts;
}

// Of too few documents to keep some out, every fifth piece, and at least the last.
FitTexts split(Contexts all) {
  FitTexts texts;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool held =
        i % kHeldOutEvery == kHeldOutEvery - 1 || (i + 1 == all.size() && texts.held_out.empty());
    (held ? texts.held_out : texts.fitted).push_back(std::move(all[i]));
  }
  return texts;
}

void shorten(Contexts& contexts, std::int64_t most) {
  std::int64_t taken = 0;
  std::size_t kept = 0;
  while (kept < contexts.size() && taken < most)
    taken += static_cast<std::int64_t>(contexts[kept++].size());
  contexts.resize(kept);
}

}  // namespace

std::int64_t token_count(const Contexts& contexts) {
  std::int64_t count = 0;
  for (const auto& context : contexts) count += static_cast<std::int64_t>(context.size());
  return count;
}

FitTexts read_fit_texts(const FitTextOptions& options, const Tokenizer& tokenizer,
                        std::int64_t vocabulary) {
  const auto read = [&](const std::vector<std::string>& paths) {
    return cut(read_documents(paths, tokenizer, vocabulary), options);
  };
  FitTexts texts;
  if (options.held_out.empty()) {
    std::vector<std::string> fit, held;
    const bool few = options.texts.size() < kHeldOutEvery;
    for (std::size_t i = 0; i < options.texts.size(); ++i)
      (!few && i % kHeldOutEvery == kHeldOutEvery - 1 ? held : fit).push_back(options.texts[i]);
    texts = few ? split(read(fit)) : FitTexts{read(fit), read(held)};
  } else {
    texts = {read(options.texts), read(options.held_out)};
  }
  if (texts.fitted.empty() || texts.held_out.empty()) {
    throw Error(
        concat("the text is too short: two pieces of more than ", 2 * options.reach,
               " tokens are needed, to fit and to judge by, or one as long as the context of ",
               options.context, " and --held-out"));
  }
  if (options.tokens > 0) {
    shorten(texts.fitted, options.tokens);
    shorten(texts.held_out, std::max<std::int64_t>(options.tokens / (kHeldOutEvery - 1), 1));
  }
  return texts;
}

}  // namespace l2a
