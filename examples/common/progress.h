// Progress of a long task on stderr: a bar that redraws itself on a terminal; elsewhere a line for
// each tenth, at most one a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace l2a {

// "1.5 GiB"
std::string bytes_text(double bytes);
// "1500 tokens"
std::string tokens_text(double tokens);
// "1m 05s"
std::string seconds_text(double seconds);

class Progress {
 public:
  using AmountText = std::string (*)(double amount);

  // Nothing is printed when `enabled` is false. `text` writes amounts and rates: bytes_text, tokens_text.
  explicit Progress(bool enabled, AmountText text = bytes_text);
  // Clears the bar, so that an error message starts on a clean line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total`; `what` is being worked on.
  void update(std::uint64_t done, std::uint64_t total, std::string_view what);
  void clear();
  double seconds() const;  // since construction

 private:
  using Clock = std::chrono::steady_clock;

  struct Mark {
    Clock::time_point time;
    std::uint64_t done;
  };

  bool enabled_;
  AmountText text_;
  bool terminal_;
  bool drawn_ = false;
  int tenths_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_ = start_;
  std::optional<Mark> first_;  // rates count from here: preparations are not part of them
};

}  // namespace l2a
