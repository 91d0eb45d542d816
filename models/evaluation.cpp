#include "models/evaluation.h"

namespace l2a {

void StepResults::begin(const Plan& of, const DecoderGraph& graph) {
  plan = &of;
  decoder = &graph;
  logits.clear();
  most_likely.clear();
  candidates.clear();
  routes.clear();
  for (const std::vector<Tensor>& of_layer : decoder->routes) {
    std::vector<std::int32_t>& routed = routes.emplace_back();
    // One Rows of all tokens, or one for each.
    for (std::size_t part = 0; part < of_layer.size(); ++part) {
      const Shape& shape = decoder->graph->value(of_layer[part].id).info.shape;
      std::vector<std::int32_t> list(static_cast<std::size_t>(shape.elements()));
      plan->read(of_layer[part], std::span<std::int32_t>(list));
      for (std::int32_t i = 0; i < list.front(); ++i) {
        routed.push_back(static_cast<std::int32_t>(part) + list[1 + static_cast<std::size_t>(i)]);
      }
    }
  }
}

std::span<const float> Evaluation::logits() const {
  if (empty()) return {};
  std::vector<float>& logits = results_->logits;
  if (logits.empty()) {
    const Shape& shape = results_->decoder->graph->value(results_->decoder->logits.id).info.shape;
    logits.resize(static_cast<std::size_t>(shape.elements()));
    results_->plan->read(results_->decoder->logits, std::span<float>(logits));
  }
  return logits;
}

std::span<const Token> Evaluation::most_likely() const {
  if (empty()) return {};
  std::vector<Token>& tokens = results_->most_likely;
  if (tokens.empty()) {
    tokens.resize(rows_);
    results_->plan->read(results_->decoder->most_likely, std::span<Token>(tokens));
  }
  return tokens;
}

std::span<const Candidate> Evaluation::candidates() const {
  if (empty()) return {};
  std::vector<Candidate>& candidates = results_->candidates;
  const DecoderGraph& decoder = *results_->decoder;
  if (candidates.empty() && decoder.candidates) {
    const Shape& shape = decoder.graph->value(decoder.candidates.id).info.shape;
    std::vector<float> pairs(static_cast<std::size_t>(shape.elements()));
    results_->plan->read(decoder.candidates, std::span<float>(pairs));
    for (std::size_t i = 0; i < pairs.size(); i += 2)
      candidates.push_back({pairs[i], static_cast<Token>(pairs[i + 1])});
  }
  return candidates;
}

}  // namespace l2a
