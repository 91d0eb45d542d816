#include "examples/common/bench_report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <sstream>

#include "examples/common/op_table.h"
#include "examples/common/progress.h"
#include "graph/error.h"

namespace l2a {
namespace {

using Json = nlohmann::ordered_json;

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double deviation_of(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<double> rates(const BenchResult& result) {
  std::vector<double> values;
  for (const double seconds : result.seconds)
    values.push_back(static_cast<double>(result.tokens()) / seconds);
  return values;
}

std::string fixed(double value, int digits) {
  return concat(std::fixed, std::setprecision(digits), value);
}

Json result_json(const BenchResult& result, bool whole) {
  std::vector<double> nanoseconds;
  for (const double seconds : result.seconds) nanoseconds.push_back(1e9 * seconds);
  Json json = {
      {"model_filename", result.model},
      {"model_type", result.architecture},
      {"model_size", result.weight_bytes},
      {"backend", result.backend},
      {"n_threads", result.threads},
      {"type_k", result.cache_type},
      {"type_v", result.cache_type},
      {"n_ubatch", result.chunk},
      {"route", result.route},
      {"routed_share", result.routed_share},
      {"n_prompt", result.prompt},
      {"n_gen", result.generated},
      {"n_sequences", result.sequences},
      {"n_depth", result.depth},
      {"cache_bytes_local", result.caches.local},
      {"cache_bytes_global", result.caches.global},
      {"resident_bytes", result.resident},
      {"avg_ns", std::llround(mean_of(nanoseconds))},
      {"stddev_ns", std::llround(deviation_of(nanoseconds))},
      {"avg_ts", result.mean()},
      {"stddev_ts", result.deviation()},
      {"median_ts", result.median()},
      {"median_ts_each", result.median() / static_cast<double>(result.sequences)},
      {"handing_over_ns",
       result.handing_over.empty() ? 0 : std::llround(1e9 * median_of(result.handing_over))},
      {"bytes", result.cost.bytes},
      {"operations", result.cost.operations},
      {"limit_name", result.limit_name()},
      {"limit", result.limit()},
      {"limit_share", result.limit_share()},
      {"limit_by", result.limits.how},
  };
  if (!whole) return json;
  json["samples_ns"] = nanoseconds;
  json["samples_ts"] = rates(result);
  if (!result.ops.empty()) json["ops"] = ops_json(result.ops);
  return json;
}

Json conversion_json(const ConversionResult& result, bool whole) {
  Json json = {
      {"model_filename", result.model},  {"type", result.type},
      {"n_threads", result.threads},     {"weights", result.weights},
      {"file_bytes", result.file_bytes}, {"median_s", result.median()},
      {"weights_per_s", result.rate()},
  };
  if (whole) json["samples_s"] = result.seconds;
  return json;
}

std::string csv_field(const Json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::string field = "\"";
  for (const char c : text) {
    if (c == '"') field += '"';
    field += c;
  }
  field += '"';
  return field;
}

struct Column {
  const char* title;
  std::size_t width;
  bool left = false;
};
constexpr Column kColumns[] = {
    {"model", 28, true}, {"weights", 9}, {"backend", 9, true}, {"threads", 7},
    {"kv", 4, true},     {"caches", 9},  {"routed", 6},        {"test", 16},
    {"t/s", 16},         {"median", 9},  {"each", 7},          {"of the limit", 26},
};

constexpr Column kConversionColumns[] = {
    {"model", 28, true}, {"to", 7, true}, {"threads", 7},      {"size", 9},
    {"seconds", 16},     {"median", 9},   {"M weights/s", 11},
};

// Text of a width on a terminal: characters of more than one byte are one column wide here.
std::string cell(const Column& column, const std::string& text) {
  const auto columns = static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
  const std::string space(column.width > columns ? column.width - columns : 0, ' ');
  return column.left ? text + space : space + text;
}

std::string markdown_row(std::span<const Column> columns, const std::vector<std::string>& cells) {
  std::string row = "|";
  for (std::size_t i = 0; i < cells.size(); ++i)
    row += concat(" ", cell(columns[i], cells[i]), " |");
  row += '\n';
  return row;
}

std::string markdown_head(std::span<const Column> columns) {
  std::vector<std::string> titles;
  std::string rule = "|";
  for (const Column& column : columns) {
    titles.emplace_back(column.title);
    const std::string dashes(column.width, '-');
    rule += concat(" ", dashes, column.left ? " |" : ":|");
  }
  return concat(markdown_row(columns, titles), rule, "\n");
}

std::string markdown_result(const BenchResult& result) {
  const double share = result.limit_share();
  return markdown_row(
      kColumns,
      {
          result.model,
          bytes_text(static_cast<double>(result.weight_bytes)),
          result.backend,
          std::to_string(result.threads),
          result.cache_type,
          bytes_text(static_cast<double>(result.caches.total())),
          result.route.empty() ? "" : concat(fixed(100 * result.routed_share, 1), "%"),
          result.test(),
          concat(fixed(result.mean(), 2), " ± ", fixed(result.deviation(), 2)),
          fixed(result.median(), 2),
          result.sequences > 1 ? fixed(result.median() / static_cast<double>(result.sequences), 2)
                               : "",
          share > 0 ? concat(fixed(100 * share, 1), "% of ",
                             fixed(result.limit() / (result.prompt > 0 ? 1e12 : 1e9),
                                   result.prompt > 0 ? 2 : 1),
                             " ", result.limit_name())
                    : "",
      });
}

std::string markdown_result(const ConversionResult& result) {
  return markdown_row(
      kConversionColumns,
      {result.model, result.type, std::to_string(result.threads),
       bytes_text(static_cast<double>(result.file_bytes)),
       concat(fixed(mean_of(result.seconds), 3), " ± ", fixed(deviation_of(result.seconds), 3)),
       fixed(result.median(), 3), fixed(1e-6 * result.rate(), 1)});
}

std::string csv_rows(const Json& json, bool first) {
  std::string head, row;
  for (const auto& [key, value] : json.items()) {
    head += concat(head.empty() ? "" : ",", key);
    row += concat(row.empty() ? "" : ",", csv_field(value));
  }
  return first ? concat(head, "\n", row, "\n") : concat(row, "\n");
}

std::string json_element(const Json& json, bool first) {
  return concat(first ? "[\n" : ",\n", json.dump(2));
}

}  // namespace

double ConversionResult::median() const { return median_of(seconds); }
double ConversionResult::rate() const { return static_cast<double>(weights) / median(); }

std::string BenchResult::test() const {
  std::string name = prompt > 0 ? concat("pp", prompt) : concat("tg", generated);
  if (sequences > 1) name += concat(" x", sequences);
  return depth > 0 ? concat(name, " @ d", depth) : name;
}

double BenchResult::mean() const { return mean_of(rates(*this)); }
double BenchResult::deviation() const { return deviation_of(rates(*this)); }
double BenchResult::median() const { return median_of(rates(*this)); }

double BenchResult::multiplying_limit() const {
  if (!integer_products) return limits.float_operations;
  return limits.bf16_operations > 0 ? limits.bf16_operations : limits.integer_operations;
}

double BenchResult::limit() const {
  return generated > 0 ? limits.read_bytes : multiplying_limit();
}

double BenchResult::limit_share() const {
  if (limit() <= 0) return 0;
  return (generated > 0 ? cost.bytes : cost.operations) / median_of(seconds) / limit();
}

std::string BenchResult::limit_name() const {
  if (generated > 0) return "GB/s read";
  if (!integer_products) return "f32 Tflop/s";
  return limits.bf16_operations > 0 ? "bf16 Tflop/s" : "int8 Top/s";
}

std::string BenchReport::add(const BenchResult& result) {
  const bool first = results_++ == 0;
  if (format_ == BenchFormat::json) return json_element(result_json(result, true), first);
  if (format_ == BenchFormat::csv) return csv_rows(result_json(result, false), first);
  if (!result.ops.empty()) {
    tables_ +=
        concat("\n", result.test(), ", ", result.threads,
               result.threads == 1 ? " thread, " : " threads, ", result.cache_type, " cache\n",
               op_table("", result.ops, {result.limits.read_bytes, result.multiplying_limit()}));
  }
  if (!result.limits.how.empty() &&
      std::find(limits_.begin(), limits_.end(), result.limits.how) == limits_.end())
    limits_.push_back(result.limits.how);
  return first ? markdown_head(kColumns) + markdown_result(result) : markdown_result(result);
}

std::string BenchReport::add(const ConversionResult& result) {
  const bool first = results_++ == 0;
  if (format_ == BenchFormat::json) return json_element(conversion_json(result, true), first);
  if (format_ == BenchFormat::csv) return csv_rows(conversion_json(result, false), first);
  return first ? markdown_head(kConversionColumns) + markdown_result(result)
               : markdown_result(result);
}

std::string BenchReport::end() const {
  if (format_ == BenchFormat::json) return "\n]\n";
  if (format_ == BenchFormat::csv) return "";
  std::string text;
  for (const std::string& how : limits_)
    text += concat("\nLimits were measured in this run: ", how, "\n");
  return text + tables_;
}

}  // namespace l2a
