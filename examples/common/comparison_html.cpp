// A comparison as a page: tables, and plots as inline SVG. One file, no scripts, no network.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "examples/common/comparison.h"
#include "examples/common/html_text.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr const char* kStyle =
    R"(:root { --s0: #0969da; --s1: #cf5b00; --s2: #1a7f37; --s3: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --s0: #4493f8; --s1: #f0883e; --s2: #3fb950; --s3: #ab7df8; }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; }
p.note, .dim { color: var(--dim); }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .8rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.left, th.left { text-align: left; }
pre { white-space: pre-wrap; border-left: 3px solid var(--line); padding-left: .8rem; }
svg { width: 100%; height: auto; margin: .5rem 0; font-size: 12px; }
svg text { fill: var(--dim); } svg .grid { stroke: var(--line); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .4em 0 1em; }
.key:first-child { margin-left: 0; }
.scroll { overflow-x: auto; }
)";

std::string colour(std::size_t series) { return concat("var(--s", series % 4, ")"); }

std::string scientific(double value) {
  return concat(std::scientific, std::setprecision(2), value);
}
std::string fixed(double value, int digits) {
  return concat(std::fixed, std::setprecision(digits), value);
}

struct Series {
  std::string name;
  std::size_t colour = 0;
  bool dashed = false;
  std::vector<double> values;  // by layer
};

// Lines over the layers, on a scale of powers of ten; what is 0 lies at the foot.
std::string layer_plot(const std::vector<Series>& all) {
  constexpr double kWidth = 720, kHeight = 260, kLeft = 56, kRight = 20, kTop = 10, kBottom = 34;
  double low = 1, high = 0;
  std::size_t count = 0;
  for (const Series& series : all) {
    count = std::max(count, series.values.size());
    for (const double value : series.values) {
      if (value <= 0 || !std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (high == 0) return "<p class=\"note\">No difference anywhere: every value is equal.</p>\n";
  const double foot = std::floor(std::log10(low)),
               top = std::max(std::ceil(std::log10(high)), foot + 1);
  const auto x = [&](std::size_t i) {
    return kLeft + (kWidth - kLeft - kRight) * static_cast<double>(i) /
                       static_cast<double>(std::max<std::size_t>(count - 1, 1));
  };
  const auto y = [&](double value) {
    const double power =
        value > 0 ? (std::isfinite(value) ? std::clamp(std::log10(value), foot, top) : top) : foot;
    return kTop + (kHeight - kTop - kBottom) * (top - power) / (top - foot);
  };
  std::ostringstream out;
  out << "<svg viewBox=\"0 0 " << kWidth << " " << kHeight << "\" role=\"img\">\n";
  for (double power = foot; power <= top; ++power) {
    const double at = y(std::pow(10, power));
    out << "<line class=\"grid\" x1=\"" << kLeft << "\" x2=\"" << kWidth - kRight << "\" y1=\""
        << at << "\" y2=\"" << at << "\"/><text x=\"" << kLeft - 6 << "\" y=\"" << at + 4
        << "\" text-anchor=\"end\">1e" << power << "</text>\n";
  }
  const std::size_t every = std::max<std::size_t>(1, (count + 11) / 12);
  for (std::size_t i = 0; i < count; i += every) {
    out << "<text x=\"" << x(i) << "\" y=\"" << kHeight - kBottom + 18
        << "\" text-anchor=\"middle\">"
        << (i + 1 == count ? std::string("head") : std::to_string(i)) << "</text>\n";
  }
  for (const Series& series : all) {
    out << "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" << colour(series.colour) << "\""
        << (series.dashed ? " stroke-dasharray=\"5 4\"" : "") << " points=\"";
    for (std::size_t i = 0; i < series.values.size(); ++i)
      out << x(i) << "," << y(series.values[i]) << " ";
    out << "\"/>\n";
    for (std::size_t i = 0; i < series.values.size(); ++i) {
      out << "<circle r=\"3\" cx=\"" << x(i) << "\" cy=\"" << y(series.values[i]) << "\" fill=\""
          << colour(series.colour) << "\"><title>" << html_escaped(series.name) << ", layer " << i
          << ": " << scientific(series.values[i]) << "</title></circle>\n";
    }
  }
  out << "</svg>\n";
  return out.str();
}

class Page {
 public:
  explicit Page(const Comparison& comparison) : comparison_(comparison) {}

  std::string all(const Words& words) {
    const ComparedBackend& first = comparison_.backends.front();
    out_ << page_head("l2a-compare", kStyle) << "<h1>" << html_escaped(comparison_.model)
         << "</h1>\n<p>" << comparison_.prompt_tokens << " tokens, the last "
         << comparison_.single_tokens << " of them one by one, on " << backend_names()
         << ". Errors are against <b>" << html_escaped(first.name)
         << "</b>, in units of the largest value of each node.</p>\n";
    layers();
    for (std::size_t i = 1; i < comparison_.backends.size(); ++i) ops(comparison_.backends[i], i);
    texts(words);
    times("Time in prefill", &ComparedBackend::prefill);
    times("Time in decode", &ComparedBackend::decode);
    layer_table();
    out_ << "</body>\n</html>\n";
    return out_.str();
  }

 private:
  std::string backend_names() const {
    std::string names;
    for (const ComparedBackend& backend : comparison_.backends)
      names += concat(names.empty() ? "" : ", ", html_escaped(backend.name));
    return names;
  }

  void key(std::size_t series, const std::string& name) {
    out_ << "<span class=\"key\" style=\"background:" << colour(series) << "\"></span>"
         << html_escaped(name);
  }

  void layers() {
    std::vector<Series> errors;
    out_ << "<h2>Error by layer</h2>\n<p>";
    for (std::size_t i = 1; i < comparison_.backends.size(); ++i) {
      const ComparedBackend& backend = comparison_.backends[i];
      Series largest{concat(backend.name, ", largest"), i, false, {}};
      Series mean{concat(backend.name, ", mean"), i, true, {}};
      for (const ErrorSum& sum : backend.by_layer) {
        largest.values.push_back(sum.largest);
        mean.values.push_back(sum.mean());
      }
      key(i, backend.name);
      errors.push_back(std::move(largest));
      errors.push_back(std::move(mean));
    }
    out_ << "</p>\n"
         << layer_plot(errors)
         << "<p class=\"note\">Solid: the largest error; dashed: the mean.</p>\n";
  }

  void ops(const ComparedBackend& backend, std::size_t index) {
    out_ << "<h2>";
    key(index, backend.name);
    out_ << ": error by op</h2>\n<table><tr><th>op</th><th>largest</th><th>mean</th><th "
            "class=\"left\">largest in</th></tr>\n";
    for (const auto& [op, sum] : backend.by_op) {
      out_ << "<tr><td>" << html_escaped(op) << "</td><td>" << scientific(sum.largest)
           << "</td><td>" << scientific(sum.mean()) << "</td><td class=\"left\">"
           << html_escaped(sum.where) << "</td></tr>\n";
    }
    out_ << "</table>\n";
  }

  void texts(const Words& words) {
    const ComparedBackend& first = comparison_.backends.front();
    out_ << "<h2>Greedy text</h2>\n<p><b>" << html_escaped(first.name) << "</b></p>\n<pre>"
         << html_escaped(words(first.text)) << "</pre>\n";
    for (std::size_t i = 1; i < comparison_.backends.size(); ++i) {
      const ComparedBackend& backend = comparison_.backends[i];
      if (backend.same == first.text.size()) {
        out_ << "<p><b>" << html_escaped(backend.name) << "</b>: the same " << backend.same
             << " tokens.</p>\n";
      } else {
        out_ << "<p><b>" << html_escaped(backend.name) << "</b> parts at token " << backend.same + 1
             << " of " << first.text.size() << ":</p>\n<pre><span class=\"dim\">"
             << html_escaped(words(std::span(backend.text).first(backend.same))) << "</span>"
             << html_escaped(words(std::span(backend.text).subspan(backend.same))) << "</pre>\n";
      }
    }
  }

  // Bars, those of an op together, in milliseconds.
  void times(const char* title, OpTimes ComparedBackend::*phase) {
    constexpr double kWidth = 720, kLeft = 150, kRight = 90, kBar = 15, kGap = 10;
    const std::vector<std::string> ops = timed_ops(comparison_, phase);
    double longest = 0;
    for (const ComparedBackend& backend : comparison_.backends) {
      for (const std::string& op : ops) longest = std::max(longest, op_seconds(backend.*phase, op));
    }
    out_ << "<h2>" << title << "</h2>\n<p>";
    for (std::size_t i = 0; i < comparison_.backends.size(); ++i) {
      const ComparedBackend& backend = comparison_.backends[i];
      key(i, concat(backend.name, ", ", fixed(1e3 * all_seconds(backend.*phase), 1), " ms"));
    }
    const auto backends = static_cast<double>(comparison_.backends.size());
    const double group = backends * kBar + kGap;
    out_ << "</p>\n<svg viewBox=\"0 0 " << kWidth << " " << group * static_cast<double>(ops.size())
         << "\" role=\"img\">\n";
    for (std::size_t o = 0; o < ops.size(); ++o) {
      const double top = group * static_cast<double>(o);
      out_ << "<text x=\"" << kLeft - 8 << "\" y=\"" << top + backends * kBar / 2 + 4
           << "\" text-anchor=\"end\">" << html_escaped(ops[o]) << "</text>\n";
      for (std::size_t i = 0; i < comparison_.backends.size(); ++i) {
        const double seconds = op_seconds(comparison_.backends[i].*phase, ops[o]);
        const double length = longest > 0 ? (kWidth - kLeft - kRight) * seconds / longest : 0;
        const double y = top + kBar * static_cast<double>(i);
        out_ << "<rect x=\"" << kLeft << "\" y=\"" << y << "\" width=\"" << std::max(length, 0.5)
             << "\" height=\"" << kBar - 1 << "\" fill=\"" << colour(i) << "\"/><text x=\""
             << kLeft + length + 6 << "\" y=\"" << y + kBar - 4 << "\">" << fixed(1e3 * seconds, 3)
             << " ms</text>\n";
      }
    }
    out_ << "</svg>\n";
  }

  void layer_table() {
    out_ << "<h2>Layers</h2>\n<div class=\"scroll\"><table><tr><th>layer</th>";
    for (std::size_t i = 1; i < comparison_.backends.size(); ++i) {
      const ComparedBackend& backend = comparison_.backends[i];
      out_ << "<th>" << html_escaped(backend.name) << ": largest</th><th>mean</th>";
      if (!backend.routes.empty()) out_ << "<th>same route</th><th>routed</th>";
    }
    out_ << "</tr>\n";
    for (std::int64_t layer = 0; layer <= comparison_.layers; ++layer) {
      out_ << "<tr><td>" << (layer == comparison_.layers ? "head" : std::to_string(layer))
           << "</td>";
      for (std::size_t i = 1; i < comparison_.backends.size(); ++i)
        layer_cells(comparison_.backends[i], layer);
      out_ << "</tr>\n";
    }
    out_ << "</table></div>\n";
  }

  void layer_cells(const ComparedBackend& backend, std::int64_t layer) {
    const ErrorSum& sum = backend.by_layer[static_cast<std::size_t>(layer)];
    out_ << "<td>" << scientific(sum.largest) << "</td><td>" << scientific(sum.mean()) << "</td>";
    if (backend.routes.empty()) return;
    const auto route =
        std::find_if(backend.routes.begin(), backend.routes.end(),
                     [&](const RouteCounts& counts) { return counts.layer == layer; });
    if (route == backend.routes.end()) {
      out_ << "<td></td><td></td>";
    } else {
      out_ << "<td>" << fixed(100 * route->agreement(), 2) << "%</td><td>"
           << route->both + route->first_alone << " of " << route->tokens << "</td>";
    }
  }

  const Comparison& comparison_;
  std::ostringstream out_;
};

}  // namespace

std::string comparison_html(const Comparison& comparison, const Words& words) {
  return Page(comparison).all(words);
}

}  // namespace l2a
