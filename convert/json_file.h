// Reading JSON that others wrote: every failure is a FileError that names the file and the field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace l2a {

using Json = nlohmann::json;

// Throws FileError when `text` is not one JSON object, or an object in it has a key twice.
// `origin` names the text in messages.
Json parse_json_object(std::string_view text, const std::string& origin);
Json read_json_object(const std::filesystem::path& path);

// The fields of one object. A missing field and a null one are the same.
class JsonFields {
 public:
  // `object` must outlive this and be a JSON object; `where` is put before field names
  // ("rope_parameters.").
  JsonFields(const Json& object, std::string origin, std::string where = "")
      : object_(object), origin_(std::move(origin)), where_(std::move(where)) {}

  const std::string& origin() const { return origin_; }
  const Json* find(const std::string& name) const;  // null when missing
  bool has(const std::string& name) const { return find(name) != nullptr; }

  // Without a fallback the field must be there.
  std::int64_t integer(const std::string& name, std::int64_t lowest, std::int64_t highest) const;
  std::int64_t integer(const std::string& name, std::int64_t lowest, std::int64_t highest,
                       std::int64_t fallback) const;
  double number(const std::string& name) const;  // finite
  double number(const std::string& name, double fallback) const;
  bool boolean(const std::string& name, bool fallback) const;
  std::string string(const std::string& name) const;
  std::string string(const std::string& name, const std::string& fallback) const;

  // Throws FileError: "origin: 'where.name': text".
  [[noreturn]] void fail(const std::string& name, const std::string& text) const;
  // The present field, or a failure that says that it is missing.
  const Json& get(const std::string& name) const;

 private:
  const Json& object_;
  std::string origin_;
  std::string where_;
};

}  // namespace l2a
