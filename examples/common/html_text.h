// Text in pages.
#pragma once

#include <string>
#include <string_view>

namespace l2a {

// As the content of an element.
std::string html_escaped(std::string_view text);

}  // namespace l2a
