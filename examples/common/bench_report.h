// What l2a-bench measured, and how it says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/op_times.h"
#include "models/session.h"

namespace l2a {

// One test: a prompt, or tokens one by one, of one sequence or of several together, after so many positions; run several
// times.
struct BenchResult {
  std::string model;  // file name, or what random model
  std::string architecture;
  std::string backend;
  int threads = 0;
  std::string cache_type;
  std::string route;  // "model" or "forced:0.2"; empty for a dense model
  std::int64_t chunk = 0;
  std::int64_t prompt = 0, generated = 0;  // one of them is 0
  std::int64_t sequences = 1;              // that generate together
  std::int64_t depth = 0;
  std::uint64_t weight_bytes = 0;
  CacheBytes caches;  // of all sequences, when the test ends
  std::uint64_t resident =
      0;                    // bytes of the process in the host's memory then, mapped files included
  double routed_share = 0;  // of the tokens of a run
  Cost cost;                // of a run
  bool integer_products = false;  // the weights are quantized, so their products are of integers
  Limits limits;
  std::vector<double> seconds;  // by run
  // The same, of a step: until its step was handed to the backend, before the wait for what it computes. All of the
  // step where a backend computes at once; 0 for a prompt.
  std::vector<double> handing_over;
  OpTimes ops;  // of one more run, when they were asked for

  std::int64_t steps() const { return prompt + generated; }  // tokens of a sequence
  std::int64_t tokens() const { return steps() * sequences; }
  std::string test() const;  // "pp512", "tg64 @ d4096", "tg64 x8"

  // Tokens a second, of all sequences.
  double mean() const;
  double deviation() const;  // of single runs; 0 for one run
  double median() const;
  // What bounds the test, and how much of it the median run reached; 0 when it is not known. Tokens one by one: bytes
  // of weights and caches over the speed of memory. A prompt: operations over those of the unit that multiplies.
  double limit() const;
  double multiplying_limit() const;  // operations a second of the unit that multiplies
  double limit_share() const;
  std::string limit_name() const;  // "GB/s read", "int8 Top/s", "bf16 Tflop/s", "f32 Tflop/s"
};

// A file or a folder converted to a type, several times.
struct ConversionResult {
  std::string model;  // file name
  std::string type;
  int threads = 0;
  std::uint64_t weights = 0;     // of all tensors
  std::uint64_t file_bytes = 0;  // written
  std::vector<double> seconds;   // by run, from opening the source until the file is complete

  double median() const;
  double rate() const;  // weights a second, of the median run
};

enum class BenchFormat : std::uint8_t { markdown, csv, json };

// Text of a report, in pieces as results come: each of them, all of one kind, and what ends it. Markdown ends with the
// tables of ops, which a CSV leaves out.
class BenchReport {
 public:
  explicit BenchReport(BenchFormat format) : format_(format) {}

  std::string add(const BenchResult& result);
  std::string add(const ConversionResult& result);
  std::string end() const;

 private:
  BenchFormat format_;
  std::size_t results_ = 0;
  std::string tables_;
  std::vector<std::string> limits_;  // each once
};

}  // namespace l2a
