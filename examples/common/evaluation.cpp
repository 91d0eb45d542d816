#include "examples/common/evaluation.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/cpu/simd.h"
#include "graph/error.h"

namespace l2a {
namespace {

// Logits of a step are this many times the vocabulary: 128 positions already keep every core busy.
constexpr std::int64_t kLogitsStep = 128;
// Values summed in f32 before the sum goes on in f64.
constexpr std::size_t kPiece = 2048;
// How far log probabilities rounded to f16 may be from summing to 1, with room to spare.
constexpr double kWorstNormalizer = 0.05;

// Calls piece(offset, count) until all are covered.
template <class Piece>
void in_pieces(std::size_t size, Piece piece) {
  for (std::size_t at = 0; at < size; at += kPiece) piece(at, std::min(kPiece, size - at));
}

// log of the sum of exp(values). `read(offset, out)` gives values, none above `largest`.
template <class Read>
double log_sum_exp(std::size_t size, float largest, Read read) {
  const SimdKernels& simd = simd_kernels(best_simd_level());
  double sum = 0;
  std::array<float, kPiece> scratch;
  in_pieces(size, [&](std::size_t at, std::size_t count) {
    const std::span<float> values(scratch.data(), count);
    read(at, values);
    sum += static_cast<double>(
        simd.exp_and_sum(static_cast<std::int64_t>(count), largest, values.data()));
  });
  return static_cast<double>(largest) + std::log(sum);
}

double log_sum_exp(std::span<const float> logits) {
  const float largest =
      simd_kernels(best_simd_level()).max(static_cast<std::int64_t>(logits.size()), logits.data());
  return log_sum_exp(logits.size(), largest, [&](std::size_t at, std::span<float> out) {
    std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  });
}

// KL(saved || model) at one position; NaN when the saved values, f16 [V], are no log probabilities.
double kl_divergence(std::span<const std::byte> saved, std::span<const float> logits,
                     double normalizer) {
  const SimdKernels& simd = simd_kernels(best_simd_level());
  const auto read = [&](std::size_t at, std::span<float> out) {
    simd.float_row(Dtype::f16)
        .to_f32(static_cast<std::int64_t>(out.size()), saved.data() + at * sizeof(std::uint16_t),
                out.data());
  };
  float largest = -INFINITY;
  std::array<float, kPiece> scratch, log_probs;
  in_pieces(logits.size(), [&](std::size_t at, std::size_t count) {
    read(at, std::span(log_probs).first(count));
    largest = std::max(largest, simd.max(static_cast<std::int64_t>(count), log_probs.data()));
  });
  // What f16 took from the sum is given back, so that these are probabilities again and the divergence of a
  // model from itself is 0 but for errors squared.
  const double saved_normalizer = log_sum_exp(logits.size(), largest, read);
  if (!(std::fabs(saved_normalizer) <= kWorstNormalizer)) return NAN;
  const auto shift = static_cast<float>(std::max(saved_normalizer, static_cast<double>(largest)));
  double total = 0, weighted = 0;
  in_pieces(logits.size(), [&](std::size_t at, std::size_t count) {
    read(at, std::span(log_probs).first(count));
    std::copy_n(log_probs.begin(), count, scratch.begin());
    simd.exp_and_sum(static_cast<std::int64_t>(count), shift, scratch.data());
    for (std::size_t i = 0; i < count; ++i) {
      const double probability = scratch[i];
      const double log_ratio = (static_cast<double>(log_probs[i]) - saved_normalizer) -
                               (static_cast<double>(logits[at + i]) - normalizer);
      total += probability;
      weighted += probability * log_ratio;
    }
  });
  return weighted / total;
}

}  // namespace

TextChunks TextChunks::cut(std::span<const std::vector<Token>> texts, std::int64_t context,
                           std::int64_t most, std::optional<Token> bos) {
  TextChunks chunks;
  chunks.context = context;
  chunks.from = context / 2;
  const auto size = static_cast<std::size_t>(context);
  std::size_t longest = 0;
  for (const std::vector<Token>& text : texts) longest = std::max(longest, text.size());
  if (longest < size) {
    throw Error(concat("the ", texts.size() == 1 ? "" : "longest ", "text has ", longest,
                       " tokens and a chunk ", context,
                       ": take a longer text or a smaller --context"));
  }
  for (std::size_t begin = 0; begin + size <= longest; begin += size) {
    for (const std::vector<Token>& text : texts) {
      if (begin + size > text.size() || (most > 0 && chunks.count == most)) continue;
      const auto first = text.begin() + static_cast<std::ptrdiff_t>(begin);
      chunks.tokens.insert(chunks.tokens.end(), first, first + static_cast<std::ptrdiff_t>(size));
      if (bos) chunks.tokens[chunks.tokens.size() - size] = *bos;
      ++chunks.count;
    }
  }
  return chunks;
}

void run_chunk(Session& session, std::span<const Token> chunk, std::int64_t from, std::int64_t step,
               const std::function<void(const ScoredStep&)>& scored,
               const std::function<void(std::int64_t)>& done) {
  session.reset();
  const std::size_t first = static_cast<std::size_t>(from), end = chunk.size();
  const auto vocabulary = static_cast<std::size_t>(session.model().config().vocabulary);
  for (std::size_t begin = 0; begin < end;) {
    const bool wants_logits = begin >= first;
    const auto most = static_cast<std::size_t>(wants_logits ? std::min(step, kLogitsStep) : step);
    const std::size_t count = std::min(most, (wants_logits ? end : first) - begin);
    const Evaluation result =
        session.step(chunk.subspan(begin, count), wants_logits ? LogitsOf::all : LogitsOf::none);
    if (wants_logits) {
      // Nothing is known of what follows the chunk's last token.
      const std::size_t positions = begin + count == end ? count - 1 : count;
      if (positions > 0) {
        scored({result.logits().first(positions * vocabulary),
                result.most_likely().first(positions), chunk.subspan(begin + 1, positions)});
      }
    }
    begin += count;
    done(static_cast<std::int64_t>(count));
  }
}

void log_softmax(std::span<const float> logits, std::span<float> out) {
  const double normalizer = log_sum_exp(logits);
  for (std::size_t i = 0; i < logits.size(); ++i)
    out[i] = static_cast<float>(static_cast<double>(logits[i]) - normalizer);
}

// Welford's: no difference of two large sums.
void MeanEstimate::add(double value) {
  ++count_;
  const double before = value - mean_;
  mean_ += before / static_cast<double>(count_);
  squares_ += before * (value - mean_);
}

double MeanEstimate::mean() const { return mean_; }

double MeanEstimate::standard_error() const {
  if (count_ < 2) return 0;
  const auto count = static_cast<double>(count_);
  return std::sqrt(squares_ / count / (count - 1));
}

double Divergence::percentile(double share) const {
  if (values.empty()) return 0;
  std::vector<float> sorted = values;
  const auto rank = std::clamp<std::size_t>(
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size()))), 1,
      sorted.size());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(rank - 1),
                   sorted.end());
  return sorted[rank - 1];
}

void Scorer::add(const ScoredStep& step) {
  score(step);
  if (saved_ != nullptr) compare(step);
  if (writer_ != nullptr) save(step);
  for (const float log_prob : next_) loss_.add(-static_cast<double>(log_prob));
}

void Scorer::score(const ScoredStep& step) {
  const auto vocabulary = static_cast<std::size_t>(vocabulary_);
  normalizers_.resize(step.next.size());
  next_.resize(step.next.size());
  pool_.parallel_for(
      static_cast<std::int64_t>(step.next.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          const auto logits = step.logits.subspan(i * vocabulary, vocabulary);
          normalizers_[i] = log_sum_exp(logits);
          const float logit = logits[static_cast<std::size_t>(step.next[i])];
          next_[i] = static_cast<float>(static_cast<double>(logit) - normalizers_[i]);
        }
      });
  for (const float log_prob : next_) {
    if (!std::isfinite(log_prob))
      throw Error("the model's logits are not finite numbers: its weights are damaged");
  }
}

void Scorer::save(const ScoredStep& step) {
  constexpr float kLowest = -65504;  // of finite f16
  const auto vocabulary = static_cast<std::size_t>(vocabulary_);
  const auto from_f32 = simd_kernels(best_simd_level()).float_row(Dtype::f16).from_f32;
  log_probs_.resize(step.logits.size() * sizeof(std::uint16_t));
  pool_.parallel_for(
      static_cast<std::int64_t>(step.next.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          const auto logits = step.logits.subspan(i * vocabulary, vocabulary);
          std::byte* row = log_probs_.data() + i * vocabulary * sizeof(std::uint16_t);
          std::array<float, kPiece> piece;
          in_pieces(vocabulary, [&](std::size_t at, std::size_t count) {
            for (std::size_t j = 0; j < count; ++j) {
              const auto log_prob =
                  static_cast<float>(static_cast<double>(logits[at + j]) - normalizers_[i]);
              piece[j] = std::max(log_prob, kLowest);
            }
            from_f32(static_cast<std::int64_t>(count), piece.data(),
                     row + at * sizeof(std::uint16_t));
          });
        }
      });
  writer_->add(log_probs_, next_, step.most_likely);
}

void Scorer::compare(const ScoredStep& step) {
  const auto vocabulary = static_cast<std::size_t>(vocabulary_);
  const std::int64_t first = loss_.count();
  kl_.resize(step.next.size());
  pool_.parallel_for(
      static_cast<std::int64_t>(step.next.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto at = static_cast<std::size_t>(i);
          kl_[at] =
              kl_divergence(saved_->log_probs(first + i),
                            step.logits.subspan(at * vocabulary, vocabulary), normalizers_[at]);
        }
      });
  for (std::size_t i = 0; i < kl_.size(); ++i) {
    const std::int64_t position = first + static_cast<std::int64_t>(i);
    const auto saved_next = static_cast<double>(saved_->next(position));
    if (!std::isfinite(kl_[i]) || !std::isfinite(saved_next)) {
      throw FileError(
          concat("the saved logits of position ", position, " are no logarithms of probabilities"));
    }
    divergence_.kl.add(kl_[i]);
    divergence_.values.push_back(static_cast<float>(kl_[i]));
    divergence_.same_top.add(saved_->most_likely(position) == step.most_likely[i] ? 1 : 0);
    divergence_.saved_loss.add(-saved_next);
    divergence_.loss_increase.add(saved_next - static_cast<double>(next_[i]));
  }
}

}  // namespace l2a
