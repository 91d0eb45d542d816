// How well a model predicts texts: perplexity, and the divergence from another model's predictions.
//
// As llama.cpp's perplexity does, so that figures compare: a text is cut into chunks of N tokens that know
// nothing of each other (a rest is left out), where the tokenizer adds a BOS it replaces each chunk's first
// token, and the positions of a chunk's second half, N/2 to N - 2, are scored on the token that follows; another
// first position than N/2 can be asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "convert/saved_logits.h"
#include "graph/thread_pool.h"
#include "models/session.h"

namespace l2a {

struct TextChunks {
  std::vector<Token> tokens;  // [count, context]
  std::int64_t context = 0;   // N
  std::int64_t from = 0;      // first position that is scored
  std::int64_t count = 0;

  // Each text by itself; `most` 0: as many chunks as there are, and else the first of each text, then the second of each,
  // and so on. Throws Error when no text is a whole chunk.
  static TextChunks cut(std::span<const std::vector<Token>> texts, std::int64_t context,
                        std::int64_t most, std::optional<Token> bos);

  std::int64_t scored() const { return context - 1 - from; }  // of one chunk
  std::span<const Token> chunk(std::int64_t index) const {
    return std::span(tokens).subspan(static_cast<std::size_t>(index * context),
                                     static_cast<std::size_t>(context));
  }
};

// Consecutive scored positions of a chunk.
struct ScoredStep {
  std::span<const float> logits;       // [positions, V]
  std::span<const Token> most_likely;  // [positions]
  std::span<const Token> next;         // [positions], the tokens that followed
};

// Runs one chunk from an empty session, scored from position `from` on. `scored` is called in order, `done` after each
// step with its tokens.
// `step`: most tokens at a time; fewer go together where logits are wanted, whose size is the vocabulary's.
void run_chunk(Session& session, std::span<const Token> chunk, std::int64_t from, std::int64_t step,
               const std::function<void(const ScoredStep&)>& scored,
               const std::function<void(std::int64_t)>& done);

// The logarithms of the probabilities that logits say.
void log_softmax(std::span<const float> logits, std::span<float> out);

// The mean of what was added, and its standard error.
class MeanEstimate {
 public:
  void add(double value);
  std::int64_t count() const { return count_; }
  double mean() const;            // 0 of nothing
  double standard_error() const;  // of the mean; 0 below two values

 private:
  std::int64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;  // of deviations from the mean
};

// How one model's predictions differ from those another saved.
struct Divergence {
  MeanEstimate kl;             // KL(saved || this), in nats, by position
  MeanEstimate same_top;       // 1 where the likeliest token is the same, else 0
  MeanEstimate saved_loss;     // -log p(next) of the saved model
  MeanEstimate loss_increase;  // of this model over it, by position
  std::vector<float> values;   // of kl, in order

  // The value that this share of positions does not exceed.
  double percentile(double share) const;
};

// Turns logits into figures, positions over the threads of a pool.
class Scorer {
 public:
  Scorer(ThreadPool& pool, std::int64_t vocabulary) : pool_(pool), vocabulary_(vocabulary) {}

  void save_to(SavedLogitsWriter* writer) { writer_ = writer; }
  // Checked to be of the same text. `saved` outlives this.
  void compare_with(const SavedLogits* saved) { saved_ = saved; }

  // Throws Error for logits that are not finite, and FileError for saved ones that are no probabilities.
  void add(const ScoredStep& step);

  const MeanEstimate& loss() const { return loss_; }  // -log p(next), in nats
  const Divergence& divergence() const { return divergence_; }

 private:
  void score(const ScoredStep& step);
  void save(const ScoredStep& step);
  void compare(const ScoredStep& step);

  ThreadPool& pool_;
  std::int64_t vocabulary_;
  SavedLogitsWriter* writer_ = nullptr;
  const SavedLogits* saved_ = nullptr;
  MeanEstimate loss_;
  Divergence divergence_;
  // Of the positions of one step.
  std::vector<double> normalizers_;  // log sum exp
  std::vector<float> next_;          // log p
  std::vector<double> kl_;
  std::vector<std::byte> log_probs_;
};

}  // namespace l2a
