// How untrusted text and shapes appear in messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace l2a {

// The text in single quotes, with everything but printable ASCII as \xNN and the middle of a long
// text left out, so that a hostile name can neither move the cursor nor fill the screen.
std::string quote(std::string_view text);

// "[2, 3]"
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace l2a
