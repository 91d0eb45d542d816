// Where the time went, by kind of op, as a table for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "graph/op_times.h"

namespace l2a {

// A line an op, the slowest first: seconds, share, calls, bytes/s and operations/s. `title` heads it.
std::string op_table(std::string_view title, const OpTimes& times);

// {"matmul": {"calls": 197, "seconds": 0.1, "bytes": 1e9, "operations": 2e9}, ...}
nlohmann::ordered_json ops_json(const OpTimes& times);

}  // namespace l2a
