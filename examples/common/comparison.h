// The same prompt through several backends: how far each node's values are from the first backend's, who is routed,
// where the greedy texts part, and what the time goes into.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/op_times.h"
#include "models/session.h"

namespace l2a {

// Errors |a - b| in units of the largest value of their node in the first backend's run. A NaN on one side alone
// is infinitely far off.
struct ErrorSum {
  double largest = 0;
  double total = 0;
  std::int64_t values = 0;
  std::string where;  // the node with the largest

  double mean() const { return values > 0 ? total / static_cast<double>(values) : 0; }
};

// Tokens of one layer, by who routed them.
struct RouteCounts {
  std::int64_t layer = 0;
  std::int64_t tokens = 0, both = 0, first_alone = 0, other_alone = 0;

  double agreement() const {
    return tokens > 0
               ? 1 - static_cast<double>(first_alone + other_alone) / static_cast<double>(tokens)
               : 1;
  }
};

struct ComparedBackend {
  std::string name;
  // Against the first backend; empty for that itself.
  std::map<std::string, ErrorSum> by_op;
  std::vector<ErrorSum>
      by_layer;  // what comes before the first layer counts to it, the head is the last entry
  std::vector<RouteCounts> routes;  // of layers that route
  std::vector<Token> text;          // greedy
  std::size_t same = 0;             // tokens of it up to the first that is another
  OpTimes prefill, decode;          // of a run that kept nothing
};

struct Comparison {
  std::string model;
  std::int64_t prompt_tokens = 0;
  std::int64_t single_tokens = 0;  // of those, at the end, that went one by one
  std::int64_t layers = 0;
  std::vector<ComparedBackend> backends;
};

struct ComparisonOptions {
  std::int64_t chunk = 128;  // prompt tokens that go together
  std::int64_t single = 8;   // of the prompt's last tokens one by one, as in decode
  std::int64_t greedy = 32;  // tokens of the texts
  Dtype cache_dtype = Dtype::f32;
};

// `load` gives the model on a backend. `progress` is told what is being done. Throws Error when there are fewer than
// two backends.
using LoadModel = std::function<std::shared_ptr<const Model>(const std::shared_ptr<Backend>&)>;
Comparison compare_backends(std::span<const std::shared_ptr<Backend>> backends,
                            const LoadModel& load, std::span<const Token> prompt,
                            const ComparisonOptions& options,
                            const std::function<void(std::string_view)>& progress);

// Kinds of ops that took time in a phase, those that took the most in all first; and their time on one backend.
std::vector<std::string> timed_ops(const Comparison& comparison, OpTimes ComparedBackend::*phase);
double op_seconds(const OpTimes& times, const std::string& op);
double all_seconds(const OpTimes& times);

// Both take the texts in words where `words` gives them, else as token ids.
using Words = std::function<std::string(std::span<const Token>)>;
std::string comparison_text(const Comparison& comparison, const Words& words);
// A page of its own: needs no network and no scripts, and is readable in the light and in the dark.
std::string comparison_html(const Comparison& comparison, const Words& words);

}  // namespace l2a
