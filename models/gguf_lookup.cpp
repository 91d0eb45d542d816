// Finding keys and tensors in a GGUF file that has been read.
#include <algorithm>
#include <limits>

#include "graph/error.h"
#include "models/gguf.h"
#include "models/mapped_file.h"
#include "models/quote.h"

namespace l2a {
namespace {

struct KindName {
  std::string_view operator()(std::uint64_t) const { return "an unsigned integer"; }
  std::string_view operator()(std::int64_t) const { return "an integer"; }
  std::string_view operator()(double) const { return "a floating-point number"; }
  std::string_view operator()(bool) const { return "a boolean"; }
  std::string_view operator()(const std::string&) const { return "a string"; }
  std::string_view operator()(const std::vector<std::uint64_t>&) const {
    return "an array of unsigned integers";
  }
  std::string_view operator()(const std::vector<std::int64_t>&) const {
    return "an array of integers";
  }
  std::string_view operator()(const std::vector<double>&) const {
    return "an array of floating-point numbers";
  }
  std::string_view operator()(const std::vector<bool>&) const { return "an array of booleans"; }
  std::string_view operator()(const std::vector<std::string>&) const {
    return "an array of strings";
  }
};

// The item named `name` by way of the sorted positions; null when there is none.
template <class Item, class NameOf>
const Item* find_named(const std::vector<Item>& items, const std::vector<std::size_t>& order,
                       std::string_view name, NameOf name_of) {
  const auto at = std::lower_bound(
      order.begin(), order.end(), name,
      [&](std::size_t index, std::string_view wanted) { return name_of(items[index]) < wanted; });
  return at != order.end() && name_of(items[*at]) == name ? &items[*at] : nullptr;
}

}  // namespace

std::uint64_t GgufFile::file_bytes() const { return file_->bytes().size(); }

bool GgufFile::has(std::string_view key) const { return value(key) != nullptr; }

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto* entry = find_named(metadata_, metadata_order_, key,
                                 [](const auto& item) -> std::string_view { return item.first; });
  return entry != nullptr ? &entry->second : nullptr;
}

void GgufFile::fail_kind(std::string_view key, std::string_view expected) const {
  throw FileError(concat(path_.string(), ": key ", quote(key), " is ",
                         std::visit(KindName{}, *value(key)), "; ", expected, " was expected"));
}

void GgufFile::fail_absent(std::string_view key, std::string_view expected) const {
  throw FileError(
      concat(path_.string(), ": key ", quote(key), " is missing; ", expected, " was expected"));
}

template <class Kind>
const Kind* GgufFile::find_kind(std::string_view key, std::string_view expected) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    return nullptr;
  }
  const auto* held = std::get_if<Kind>(found);
  if (held == nullptr) {
    fail_kind(key, expected);
  }
  return held;
}

std::uint64_t GgufFile::get_u64(std::string_view key) const {
  const auto found = find_u64(key);
  if (!found) {
    fail_absent(key, "an integer that is not negative");
  }
  return *found;
}

double GgufFile::get_f64(std::string_view key) const {
  const auto found = find_f64(key);
  if (!found) {
    fail_absent(key, "a number");
  }
  return *found;
}

const std::string& GgufFile::get_string(std::string_view key) const {
  const std::string* found = find_string(key);
  if (found == nullptr) {
    fail_absent(key, "a string");
  }
  return *found;
}

const std::vector<std::string>& GgufFile::get_strings(std::string_view key) const {
  const auto* found = find_kind<std::vector<std::string>>(key, "an array of strings");
  if (found == nullptr) {
    fail_absent(key, "an array of strings");
  }
  return *found;
}

std::optional<std::uint64_t> GgufFile::find_u64(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (const auto* number = std::get_if<std::uint64_t>(found)) {
    return *number;
  }
  const auto* number = std::get_if<std::int64_t>(found);
  if (number == nullptr) {
    fail_kind(key, "an integer that is not negative");
  }
  if (*number < 0) {
    throw FileError(concat(path_.string(), ": key ", quote(key), " is ", *number,
                           "; an integer that is not negative was expected"));
  }
  return static_cast<std::uint64_t>(*number);
}

std::optional<double> GgufFile::find_f64(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (const auto* number = std::get_if<double>(found)) {
    return *number;
  }
  if (const auto* number = std::get_if<std::uint64_t>(found)) {
    return static_cast<double>(*number);
  }
  if (const auto* number = std::get_if<std::int64_t>(found)) {
    return static_cast<double>(*number);
  }
  fail_kind(key, "a number");
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const bool* found = find_kind<bool>(key, "a boolean");
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

const std::string* GgufFile::find_string(std::string_view key) const {
  return find_kind<std::string>(key, "a string");
}

std::optional<std::vector<std::int64_t>> GgufFile::find_ints(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(found)) {
    return *numbers;
  }
  const auto* numbers = std::get_if<std::vector<std::uint64_t>>(found);
  if (numbers == nullptr) {
    fail_kind(key, "an array of integers");
  }
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  if (std::any_of(numbers->begin(), numbers->end(), [](std::uint64_t n) { return n > kLargest; })) {
    throw FileError(
        concat(path_.string(), ": key ", quote(key), " holds an integer beyond ", kLargest));
  }
  return std::vector<std::int64_t>(numbers->begin(), numbers->end());
}

std::optional<std::vector<double>> GgufFile::find_floats(std::string_view key) const {
  const auto* found = find_kind<std::vector<double>>(key, "an array of floating-point numbers");
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

std::optional<std::vector<bool>> GgufFile::find_bools(std::string_view key) const {
  const auto* found = find_kind<std::vector<bool>>(key, "an array of booleans");
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_named(tensors_, tensor_order_, name,
                    [](const GgufTensor& tensor) -> std::string_view { return tensor.name; });
}

const GgufTensor& GgufFile::get_tensor(std::string_view name,
                                       std::span<const std::int64_t> shape) const {
  const GgufTensor* tensor = find_tensor(name);
  if (tensor == nullptr) {
    throw FileError(concat(path_.string(), ": tensor ", quote(name), " is missing; shape ",
                           shape_text(shape), " was expected"));
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    throw FileError(concat(path_.string(), ": tensor ", quote(name), " has shape ",
                           shape_text(tensor->shape), "; ", shape_text(shape), " was expected"));
  }
  return *tensor;
}

}  // namespace l2a
