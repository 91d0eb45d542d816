// The one family of exceptions. A message is written for the user: it names the file or the input,
// the field, and what was expected. Kernels and hot paths do not throw.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace l2a {

// Joins values with operator<<: concat("row ", 3, " of ", 2).
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A graph that cannot be built: a wrong shape, dtype or use of Rows. Names the op and its inputs.
class GraphError : public Error {
 public:
  using Error::Error;
};

// A file that cannot be read or written, or whose contents are not what they should be.
class FileError : public Error {
 public:
  using Error::Error;
};

}  // namespace l2a
