// A comparison as tables for a terminal.
#include <algorithm>
#include <iomanip>
#include <sstream>

#include "examples/common/comparison.h"
#include "graph/error.h"

namespace l2a {
namespace {

std::string scientific(double value) {
  return concat(std::scientific, std::setprecision(2), value);
}

class TextTables {
 public:
  explicit TextTables(const Comparison& comparison) : comparison_(comparison) {}

  std::string all(const Words& words) {
    const ComparedBackend& first = comparison_.backends.front();
    out_ << comparison_.model << ": " << comparison_.prompt_tokens << " tokens, the last "
         << comparison_.single_tokens << " of them one by one; errors are against " << first.name
         << ", in units of the\nlargest value of each node\n";
    for (std::size_t i = 1; i < comparison_.backends.size(); ++i) {
      errors_by_op(comparison_.backends[i]);
      errors_by_layer(comparison_.backends[i]);
      text(comparison_.backends[i], words);
    }
    times("prefill, ms", &ComparedBackend::prefill);
    times("decode, ms", &ComparedBackend::decode);
    return out_.str();
  }

 private:
  void heading(const std::string& title) {
    out_ << "\n" << std::left << std::setw(22) << title << std::right;
  }
  void error(const std::string& name, const ErrorSum& sum) {
    out_ << "  " << std::left << std::setw(20) << name << std::right << std::setw(10)
         << scientific(sum.largest) << std::setw(11) << scientific(sum.mean());
  }

  void errors_by_op(const ComparedBackend& backend) {
    heading(concat(backend.name, ", by op"));
    out_ << "   largest       mean   largest in\n";
    for (const auto& [op, sum] : backend.by_op) {
      error(op, sum);
      out_ << "   " << sum.where << "\n";
    }
  }

  void errors_by_layer(const ComparedBackend& backend) {
    heading(concat(backend.name, ", by layer"));
    out_ << "   largest       mean" << (backend.routes.empty() ? "" : "   same route   routed")
         << "\n";
    for (std::size_t i = 0; i < backend.by_layer.size(); ++i) {
      const bool head = i + 1 == backend.by_layer.size();
      error(head ? "head" : std::to_string(i), backend.by_layer[i]);
      const auto route = std::find_if(
          backend.routes.begin(), backend.routes.end(),
          [&](const RouteCounts& counts) { return counts.layer == static_cast<std::int64_t>(i); });
      if (route != backend.routes.end()) {
        out_ << std::fixed << std::setprecision(2) << std::setw(12) << 100 * route->agreement()
             << "%" << std::setw(9) << route->both + route->first_alone << " of " << route->tokens;
      }
      out_ << "\n";
    }
  }

  void text(const ComparedBackend& backend, const Words& words) {
    const ComparedBackend& first = comparison_.backends.front();
    out_ << "\n";
    if (backend.same == first.text.size()) {
      out_ << backend.name << " writes the same " << backend.same << " tokens as " << first.name
           << ": " << words(first.text) << "\n";
      return;
    }
    out_ << backend.name << " and " << first.name << " part at token " << backend.same + 1 << " of "
         << first.text.size() << ", after: " << words(std::span(first.text).first(backend.same))
         << "\n";
    for (const ComparedBackend* each : {&first, &backend}) {
      out_ << "  " << std::left << std::setw(12) << each->name << std::right
           << words(std::span(each->text).subspan(backend.same)) << "\n";
    }
  }

  void times(const std::string& title, OpTimes ComparedBackend::*phase) {
    heading(title);
    for (const ComparedBackend& backend : comparison_.backends)
      out_ << std::setw(12) << backend.name;
    out_ << "\n" << std::fixed << std::setprecision(3);
    const auto row = [&](const std::string& name, auto seconds) {
      out_ << "  " << std::left << std::setw(20) << name << std::right;
      for (const ComparedBackend& backend : comparison_.backends)
        out_ << std::setw(12) << 1e3 * seconds(backend.*phase);
      out_ << "\n";
    };
    for (const std::string& op : timed_ops(comparison_, phase))
      row(op, [&](const OpTimes& times) { return op_seconds(times, op); });
    row("all", all_seconds);
  }

  const Comparison& comparison_;
  std::ostringstream out_;
};

}  // namespace

std::string comparison_text(const Comparison& comparison, const Words& words) {
  return TextTables(comparison).all(words);
}

}  // namespace l2a
