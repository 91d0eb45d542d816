#include "examples/common/html_text.h"

#include "graph/error.h"

namespace l2a {

std::string html_escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

std::string page_head(std::string_view title, std::string_view style) {
  return concat(R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>)",
                html_escaped(title), R"(</title>
<style>
:root { --text: #1b1f24; --dim: #656d76; --line: #d0d7de; --page: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --dim: #8d96a0; --line: #30363d; --page: #0d1117; }
}
body { color: var(--text); background: var(--page); max-width: 60rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
)",
                style, "</style>\n</head>\n<body>\n");
}

}  // namespace l2a
