#include "examples/common/op_table.h"

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <vector>

namespace l2a {

namespace {

// The least seconds that the work takes under the roof.
double bound_seconds(const Cost& cost, const Roof& roof) {
  return std::max(roof.bytes > 0 ? cost.bytes / roof.bytes : 0,
                  roof.operations > 0 ? cost.operations / roof.operations : 0);
}

}  // namespace

std::string op_table(std::string_view title, const OpTimes& times, const Roof& roof) {
  double total = 0;
  for (const auto& [name, time] : times) total += time.seconds;
  std::vector<OpTimes::const_iterator> slowest_first;
  for (auto it = times.begin(); it != times.end(); ++it) slowest_first.push_back(it);
  std::sort(slowest_first.begin(), slowest_first.end(),
            [](const auto& a, const auto& b) { return a->second.seconds > b->second.seconds; });

  std::ostringstream out;
  out << std::left << std::setw(18) << title << std::right
      << "        ms   share    calls     GB/s    Gop/s"
      << (roof.bytes > 0 ? "   of the limit\n" : "\n") << std::fixed;
  for (const auto& it : slowest_first) {
    const OpTime& time = it->second;
    const double share = total > 0 ? time.seconds / total : 0;
    out << "  " << std::left << std::setw(16) << it->first << std::right << std::setprecision(2)
        << std::setw(10) << 1e3 * time.seconds << std::setprecision(1) << std::setw(7)
        << 100 * share << "%" << std::setw(9) << time.calls;
    // An op that a backend computes as part of another has no time of its own.
    if (time.seconds > 0) {
      out << std::setw(9) << time.cost.bytes / time.seconds / 1e9 << std::setw(9)
          << time.cost.operations / time.seconds / 1e9;
      if (roof.bytes > 0)
        out << std::setw(14) << 100 * bound_seconds(time.cost, roof) / time.seconds << "%";
    }
    out << "\n";
  }
  return out.str();
}

nlohmann::ordered_json ops_json(const OpTimes& times) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, time] : times) {
    json[name] = {{"calls", time.calls},
                  {"seconds", time.seconds},
                  {"bytes", time.cost.bytes},
                  {"operations", time.cost.operations}};
  }
  return json;
}

}  // namespace l2a
