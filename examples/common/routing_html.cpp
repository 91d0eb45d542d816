// Routing as a page. One file, no scripts, no network: what is under the pointer shows by style alone.
#include <algorithm>
#include <iomanip>
#include <sstream>

#include "examples/common/html_text.h"
#include "examples/common/routing_view.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr const char* kStyle = R"(:root { --bar: #cf5b00;
        --r1: #fff1e5; --r2: #ffd8b5; --r3: #ffb77c; --r4: #fb8f44; --r5: #e16f24; --ink: #1b1f24; }
@media (prefers-color-scheme: dark) {
  :root { --bar: #f0883e;
          --r1: #3d2000; --r2: #5a2e02; --r3: #823f07; --r4: #b35310; --r5: #db6d28; --ink: #fff; }
}
body { font: 15px/1.7 system-ui, sans-serif; margin: 2rem auto 6rem; padding: 0 1rem; }
.note { color: var(--dim); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.r1 { background: var(--r1); } .r2 { background: var(--r2); } .r3 { background: var(--r3); }
.r4 { background: var(--r4); } .r5 { background: var(--r5); }
.r1, .r2, .r3, .r4, .r5 { color: var(--ink); border-radius: 2px; }
.key span { padding: .1rem .5rem; }
.text span:hover { outline: 2px solid var(--bar); }
.text span:hover::after {
  content: attr(data-is); position: fixed; left: 0; right: 0; bottom: 0; padding: .6rem 1rem;
  background: var(--page); color: var(--text); border-top: 1px solid var(--line); white-space: normal; }
svg { width: 100%; height: auto; font-size: 11px; } svg text { fill: var(--dim); }
svg rect { fill: var(--bar); } svg .grid { stroke: var(--line); }
)";

std::string percent(double share) {
  return concat(std::fixed, std::setprecision(1), 100 * share, "%");
}

class Page {
 public:
  Page(const RoutingRecord& record, std::span<const Token> tokens, const Tokenizer& tokenizer,
       std::size_t prompt)
      : record_(record), tokens_(tokens), tokenizer_(tokenizer), prompt_(prompt) {}

  std::string all(const std::string& model) {
    out_ << page_head("l2a-run: routing", kStyle) << "<h1>" << html_escaped(model) << "</h1>\n<p>"
         << prompt_ << " tokens of prompt, " << tokens_.size() - prompt_
         << " of answer. Each of the " << record_.routers().size()
         << " layers with a router decides for each token whether it looks back over everything. "
            "Skipped "
            "past the "
            "window: "
         << html_escaped(skipped_text(record_, prompt_)) << ".</p>\n";
    key();
    layers();
    text();
    out_ << "</body>\n</html>\n";
    return out_.str();
  }

 private:
  void key() {
    out_ << "<p class=\"key note\">Routed by none of the layers";
    for (std::size_t step = 1; step <= kShareSteps.size(); ++step)
      out_ << " <span class=\"r" << step << "\">to " << kShareSteps[step - 1] << "%</span>";
    out_ << ". The first " << record_.reach()
         << " tokens see everything anyway. The layers of a token show below while the pointer is "
            "on it.</p>\n";
  }

  // Bars: what share of the tokens each layer routed.
  void layers() {
    constexpr double kWidth = 720, kHeight = 110, kLeft = 40, kBottom = 18, kTop = 6;
    const double slot = (kWidth - kLeft) / static_cast<double>(record_.layers());
    const double full = kHeight - kBottom - kTop;
    const std::int64_t every = std::max<std::int64_t>(1, (record_.layers() + 15) / 16);
    out_ << "<h2>By layer</h2>\n<svg viewBox=\"0 0 " << kWidth << " " << kHeight
         << "\" role=\"img\">\n";
    for (const double share : {0.0, 0.5, 1.0}) {
      const double y = kHeight - kBottom - share * full;
      out_ << "<line class=\"grid\" x1=\"" << kLeft << "\" x2=\"" << kWidth << "\" y1=\"" << y
           << "\" y2=\"" << y << "\"/><text x=\"" << kLeft - 6 << "\" y=\"" << y + 4
           << "\" text-anchor=\"end\">" << 100 * share << "%</text>\n";
    }
    for (std::int64_t layer = 0; layer < record_.layers(); layer += every) {
      out_ << "<text x=\"" << kLeft + slot * (static_cast<double>(layer) + 0.5) << "\" y=\""
           << kHeight - 4 << "\" text-anchor=\"middle\">" << layer << "</text>\n";
    }
    for (std::size_t router = 0; router < record_.routers().size(); ++router) {
      std::size_t count = 0;
      for (std::size_t at = 0; at < record_.size(); ++at)
        count += record_.routed(at, router) ? 1 : 0;
      const std::int64_t layer = record_.routers()[router];
      const double share = static_cast<double>(count) /
                           static_cast<double>(std::max<std::size_t>(record_.size(), 1));
      out_ << "<rect x=\"" << kLeft + slot * (static_cast<double>(layer) + 0.15) << "\" y=\""
           << kHeight - kBottom - share * full << "\" width=\"" << 0.7 * slot << "\" height=\""
           << share * full << "\"><title>layer " << layer << ": " << percent(share)
           << "</title></rect>\n";
    }
    out_ << "</svg>\n";
  }

  void text() {
    PieceDecoder decoder(tokenizer_);
    const auto show = [&](const TextPiece& piece) { span(piece); };
    out_ << "<h2>Prompt</h2>\n<div class=\"text\">";
    for (std::size_t at = 0; at < tokens_.size(); ++at) {
      if (at == prompt_) {
        decoder.finish(show);
        out_ << "</div>\n<h2>Answer</h2>\n<div class=\"text\">";
      }
      decoder.push(tokens_[at], show);
    }
    decoder.finish(show);
    out_ << "</div>\n";
  }

  void span(const TextPiece& piece) {
    if (piece.first >= record_.size()) {  // the last token: nothing came after it
      out_ << html_escaped(piece.text);
      return;
    }
    const double share = record_.share(piece.first, piece.last);
    const std::size_t step = share_step(share);
    out_ << "<span" << (step > 0 ? concat(" class=\"r", step, "\"") : "") << " data-is=\"token "
         << piece.first << ": " << percent(share) << " of the layers";
    const char* separator = ": ";
    for (std::size_t router = 0; router < record_.routers().size(); ++router) {
      bool routed = false;
      for (std::size_t at = piece.first; at < std::min(piece.last, record_.size()); ++at)
        routed = routed || record_.routed(at, router);
      if (!routed) continue;
      out_ << separator << record_.routers()[router];
      separator = ", ";
    }
    out_ << "\">" << html_escaped(piece.text) << "</span>";
  }

  const RoutingRecord& record_;
  std::span<const Token> tokens_;
  const Tokenizer& tokenizer_;
  std::size_t prompt_;
  std::ostringstream out_;
};

}  // namespace

std::string routing_html(const RoutingRecord& record, std::span<const Token> tokens,
                         const Tokenizer& tokenizer, const std::string& model, std::size_t prompt) {
  return Page(record, tokens, tokenizer, prompt).all(model);
}

}  // namespace l2a
