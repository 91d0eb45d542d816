// Text in pages.
#pragma once

#include <string>
#include <string_view>

namespace l2a {

// As the content of an element.
std::string html_escaped(std::string_view text);

// A page's beginning, to where its content starts. The style may use the colours --text, --dim, --line and --page, of
// which every page has a light and a dark form.
std::string page_head(std::string_view title, std::string_view style);

}  // namespace l2a
