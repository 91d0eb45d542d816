// Where the time went, by kind of op, as a table for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "graph/op_times.h"

namespace l2a {

// What the hardware does at most in a second; 0: not known.
struct Roof {
  double bytes = 0, operations = 0;
};

// A line an op, the slowest first: seconds, share, calls, bytes/s and operations/s. `title` heads it. With a roof also
// the share of it that the op reached, of the bound that is nearer.
std::string op_table(std::string_view title, const OpTimes& times, const Roof& roof = {});

// {"matmul": {"calls": 197, "seconds": 0.1, "bytes": 1e9, "operations": 2e9}, ...}
nlohmann::ordered_json ops_json(const OpTimes& times);

}  // namespace l2a
