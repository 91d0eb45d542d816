#pragma once

namespace l2a {

inline constexpr const char* kVersion = "0.1.0";  // project() in CMakeLists.txt

}  // namespace l2a
