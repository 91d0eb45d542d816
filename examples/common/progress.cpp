#include "examples/common/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "graph/error.h"

namespace l2a {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kLinesApart = std::chrono::seconds(1);  // a log needs no lines about what is quick
constexpr std::size_t kWidestBar = 24, kNarrowestBar = 4;

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  return concat(std::fixed, std::setprecision(unit == 0 ? 0 : 1), bytes, " ", kUnits[unit]);
}

std::string tokens_text(double tokens) { return concat(std::llround(tokens), " tokens"); }

std::string seconds_text(double seconds) {
  if (seconds < 10.0) {
    return concat(std::fixed, std::setprecision(1), seconds, "s");
  }
  const auto whole = static_cast<long long>(std::lround(seconds));
  if (whole < 60) {
    return concat(whole, "s");
  }
  return concat(whole / 60, "m ", std::setw(2), std::setfill('0'), whole % 60, "s");
}

Progress::Progress(bool enabled, AmountText text)
    : enabled_(enabled), text_(text), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void Progress::clear() {
  if (drawn_) {
    std::cerr << "\r\x1b[K" << std::flush;
    drawn_ = false;
  }
}

void Progress::update(std::uint64_t done, std::uint64_t total, std::string_view what) {
  if (!enabled_ || total == 0) {
    return;
  }
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const auto now = Clock::now();
  if (!first_) {
    first_ = {now, done};
  }
  const double elapsed = std::chrono::duration<double>(now - first_->time).count();
  const double rate = elapsed > 0.0 ? static_cast<double>(done - first_->done) / elapsed : 0.0;
  std::string numbers =
      concat(static_cast<int>(share * 100.0), "%  ", text_(static_cast<double>(done)), " of ",
             text_(static_cast<double>(total)));
  // The first call, of work that goes on where it was interrupted, cannot know how fast it goes.
  if (rate > 0.0) {
    const double left = static_cast<double>(total - done) / rate;
    numbers += concat("  ", text_(rate), "/s  ", seconds_text(left), " left");
  }
  if (!terminal_) {
    const int tenths = static_cast<int>(share * 10.0);
    if (tenths > tenths_ && now - last_drawn_ >= kLinesApart) {
      tenths_ = tenths;
      last_drawn_ = now;
      std::cerr << numbers + "\n";
    }
    return;
  }
  if (done != total && now - last_drawn_ < kRedraw) {
    return;
  }
  last_drawn_ = now;
  drawn_ = true;
  // The bar gives way to the words; what does not fit even so is cut.
  const std::string words = concat("] ", numbers, "  ", what);
  const std::size_t columns = terminal_columns() - 1;
  const std::size_t width =
      std::clamp(columns - std::min(columns, words.size() + 1), kNarrowestBar, kWidestBar);
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  std::string line = concat("[", std::string(filled, '#'), std::string(width - filled, '.'), words);
  line.resize(std::min(line.size(), columns));
  std::cerr << "\r" << line << "\x1b[K" << std::flush;
}

}  // namespace l2a
