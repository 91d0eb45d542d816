// How long things take, by the host's clock.
#pragma once

#include <chrono>

namespace l2a {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Calls f().
template <class F>
double seconds_of(F&& f) {
  const Stopwatch stopwatch;
  f();
  return stopwatch.seconds();
}

}  // namespace l2a
