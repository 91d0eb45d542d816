// Progress of a long task on stderr: a bar that redraws itself on a terminal, a line for each tenth
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace l2a {

// "1.5 GiB"
std::string bytes_text(double bytes);
// "1m 05s"
std::string seconds_text(double seconds);

class Progress {
 public:
  // Nothing is printed when `enabled` is false.
  explicit Progress(bool enabled);
  // Clears the bar, so that an error message starts on a clean line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of `total` bytes; `what` is being worked on.
  void update(std::uint64_t done, std::uint64_t total, std::string_view what);
  void clear();
  double seconds() const;  // since construction

 private:
  using Clock = std::chrono::steady_clock;

  bool enabled_;
  bool terminal_;
  bool drawn_ = false;
  int tenths_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_{};
};

}  // namespace l2a
