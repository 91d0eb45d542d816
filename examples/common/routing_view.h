// When a model looks back: its text, token by token, with the layers that routed each token. For a terminal in colours,
// plain as a line a token, and as a page.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/model_config.h"
#include "models/tokenizer.h"

namespace l2a {

// Who was routed, of tokens in the order in which they were run.
class RoutingRecord {
 public:
  // Of a model with at least one router.
  explicit RoutingRecord(const ModelConfig& config);

  // A step of so many tokens, and for each layer with a router those that it routed, from 0 at the step's first
  // (Evaluation::routes).
  void add(std::size_t tokens, std::span<const std::vector<std::int32_t>> routes);

  std::size_t size() const { return size_; }                             // positions
  std::int64_t layers() const { return layers_; }                        // of the model
  const std::vector<std::int64_t>& routers() const { return routers_; }  // layers that have one
  // By routers().
  bool routed(std::size_t position, std::size_t router) const {
    return routed_[position * routers_.size() + router];
  }
  // Of all routers, over those of the positions [first, last) that were run; 0 of none.
  double share(std::size_t first, std::size_t last) const;
  // From this position on there is something that only routed tokens see.
  std::size_t reach() const { return reach_; }

 private:
  std::int64_t layers_;
  std::size_t reach_, size_ = 0;
  std::vector<std::int64_t> routers_;
  std::vector<bool> routed_;
};

// Shares up to which there is a colour of its own, ascending, in percent: most tokens are routed by few layers.
inline constexpr std::array kShareSteps = {10, 20, 35, 60, 100};
// Which of them a share takes, from 1; 0 for none at all, so that what stands out was routed.
std::size_t share_step(double share);

// Whole characters, and the tokens that they are of: nearly always one.
struct TextPiece {
  std::string text;
  std::size_t first = 0, last = 0;  // positions [first, last)
};

// Cuts a text into pieces as its tokens come.
class PieceDecoder {
 public:
  explicit PieceDecoder(const Tokenizer& tokenizer) : decoder_(tokenizer) {}
  // Calls `piece` with what is complete now, if anything.
  void push(Token token, const std::function<void(const TextPiece&)>& piece);
  // With what was held back, if anything.
  void finish(const std::function<void(const TextPiece&)>& piece);

 private:
  StreamDecoder decoder_;
  std::size_t first_ = 0, next_ = 0;
};

// Says what the colours of a terminal mean; ends with a newline.
std::string routing_legend(const RoutingRecord& record);
// A piece for a terminal. A position that was not run yet, the last, has no colour.
std::string coloured(const TextPiece& piece, const RoutingRecord& record);
// What the columns of routing_line are; ends with a newline.
std::string routing_header(const RoutingRecord& record);
// A piece as a line: position, share, a sign a layer ('#' routed, '.' not, '-' without a router), the text in JSON's form.
std::string routing_line(const TextPiece& piece, const RoutingRecord& record);
// The share of the long reads that was skipped, of prompt and answer: the positions past the window, over all routers.
std::string skipped_text(const RoutingRecord& record, std::size_t prompt);
// The same as a line of the figures (figures.h).
std::string skipped_line(const RoutingRecord& record, std::size_t prompt);

// A page of its own: the text coloured, the layers of a token under the pointer, the share by layer. The first `prompt` of
// the tokens were given, the others are the answer.
std::string routing_html(const RoutingRecord& record, std::span<const Token> tokens,
                         const Tokenizer& tokenizer, const std::string& model, std::size_t prompt);

}  // namespace l2a
