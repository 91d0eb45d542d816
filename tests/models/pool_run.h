// Sequences of different lengths that come and go in a pool, as at a server, and the same ones each in a session of its own.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "models/sequence_pool.h"
#include "tests/models/test_model.h"

namespace l2a::test {

struct PoolSequence {
  std::int64_t slot = 0;
  std::size_t joins = 0;  // the step before which its prompt is run
  std::vector<Token> tokens;
  std::size_t prompt = 0;  // of those; each of the others is a step
};

// What a sequence computed: of the prompt's last token and of each after it; how often each layer routed, and which of the
// tokens after the prompt each routed layer routed.
struct SequenceRun {
  std::vector<float> logits;
  std::vector<std::int64_t> routed;
  std::vector<std::vector<bool>> routes;

  void add(const Evaluation& step, std::size_t row, std::size_t vocabulary) {
    const auto logits_of_row = step.logits().subspan(row * vocabulary, vocabulary);
    logits.insert(logits.end(), logits_of_row.begin(), logits_of_row.end());
  }
  void add_routes(const Evaluation& step, std::size_t row) {
    routes.resize(step.routes.size());
    for (std::size_t layer = 0; layer < routes.size(); ++layer) {
      routes[layer].push_back(std::ranges::binary_search(step.routes[layer], row));
    }
  }
};

// Two sequences for every slot, one after the other. Prompts and lengths all differ, so that rings wrap at different steps,
// slots are empty at times, and hardly two steps in a row have the same slots.
inline std::vector<PoolSequence> pool_sequences(std::int64_t slots) {
  std::vector<PoolSequence> sequences;
  const std::vector<Token> tokens = some_tokens(2000);
  const auto count = static_cast<std::size_t>(slots);
  for (std::size_t i = 0; i < 2 * count; ++i) {
    PoolSequence one;
    one.slot = static_cast<std::int64_t>(i % count);
    one.prompt = 1 + (i * 5) % 17;
    const std::size_t steps = 4 + (i * 7) % 9;
    one.joins = i < count ? i % 3 : sequences[i - count].joins + 13 + i % 2;
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(29 * i);
    one.tokens.assign(begin, begin + static_cast<std::ptrdiff_t>(one.prompt + steps));
    sequences.push_back(std::move(one));
  }
  return sequences;
}

inline std::vector<SequenceRun> run_in_pool(SequencePool& pool,
                                            const std::vector<PoolSequence>& sequences) {
  const auto vocabulary = static_cast<std::size_t>(pool.model().config().vocabulary);
  std::vector<SequenceRun> runs(sequences.size());
  const auto steps = [](const PoolSequence& one) { return one.tokens.size() - one.prompt; };
  std::size_t end = 0;
  for (const PoolSequence& one : sequences) end = std::max(end, one.joins + steps(one));
  for (std::size_t step = 0; step < end; ++step) {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const PoolSequence& one = sequences[i];
      if (one.joins == step) {
        pool.reset(one.slot);
        runs[i].add(pool.prefill(one.slot, std::span(one.tokens).first(one.prompt)), 0, vocabulary);
      }
      if (one.joins <= step && step < one.joins + steps(one)) active.push_back(i);
    }
    if (active.empty()) continue;
    std::ranges::sort(active, {}, [&](std::size_t i) { return sequences[i].slot; });
    std::vector<SlotToken> entries;
    for (const std::size_t i : active) {
      const PoolSequence& one = sequences[i];
      entries.push_back({one.slot, one.tokens[one.prompt + step - one.joins]});
    }
    const Evaluation result = pool.step(entries);
    for (std::size_t row = 0; row < active.size(); ++row) {
      SequenceRun& run = runs[active[row]];
      run.add(result, row, vocabulary);
      run.add_routes(result, row);
      run.routed = pool.routing(entries[row].slot).routed;
    }
  }
  return runs;
}

inline std::vector<SequenceRun> run_each_alone(const std::shared_ptr<const Model>& model,
                                               const std::shared_ptr<Backend>& backend,
                                               const SessionOptions& options,
                                               const std::vector<PoolSequence>& sequences) {
  const auto vocabulary = static_cast<std::size_t>(model->config().vocabulary);
  std::vector<SequenceRun> runs;
  Session session(model, backend, {}, options);
  for (const PoolSequence& one : sequences) {
    SequenceRun& run = runs.emplace_back();
    session.reset();
    run.add(session.prefill(std::span(one.tokens).first(one.prompt)), 0, vocabulary);
    for (std::size_t i = one.prompt; i < one.tokens.size(); ++i) {
      const Evaluation step = session.decode(one.tokens[i]);
      run.add(step, 0, vocabulary);
      run.add_routes(step, 0);
    }
    run.routed = session.routing().routed;
  }
  return runs;
}

// The logits within `tolerance` of the largest, 0 for the same to the bit, and the same routes.
inline void check_pool(const std::shared_ptr<const Model>& model,
                       const std::shared_ptr<Backend>& backend, SessionOptions options,
                       std::int64_t slots, double tolerance) {
  options.keep_routes = true;
  const std::vector<PoolSequence> sequences = pool_sequences(slots);
  SequencePool pool(model, backend, {}, options, slots);
  const std::vector<SequenceRun> together = run_in_pool(pool, sequences);
  const std::vector<SequenceRun> alone = run_each_alone(model, backend, options, sequences);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    CAPTURE(i);
    REQUIRE(together[i].logits.size() == alone[i].logits.size());
    CHECK(relative_error(together[i].logits, alone[i].logits) <= tolerance);
    CHECK(together[i].routed == alone[i].routed);
    CHECK(together[i].routes == alone[i].routes);
  }
}

// One model of each kind: dense, add, add with pruned layers, widen with a pruned layer, widen.
constexpr const char* kPoolModels[] = {"qwen3-tiny",       "qwen2-tiny",      "l2a-qwen3-tiny",
                                       "l2a-qwen3-pruned", "l2a-qwen3-widen", "l2a-llama-widen"};

inline SessionOptions pool_options(Dtype cache) {
  SessionOptions options;
  options.context = 30;  // the longest sequence has 29 tokens
  options.chunk = 6;
  options.cache_dtype = cache;
  return options;
}

}  // namespace l2a::test
