#include "convert/json_file.h"

#include <cmath>
#include <unordered_set>
#include <vector>

#include "graph/error.h"
#include "models/mapped_file.h"
#include "models/quote.h"

namespace l2a {

Json parse_json_object(std::string_view text, const std::string& origin) {
  // The parser keeps the last of two equal keys, and which one other readers keep varies: refused
  // instead.
  std::vector<std::unordered_set<std::string>> open_objects;
  const Json::parser_callback_t check_keys = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      open_objects.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open_objects.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_objects.back().insert(key).second) {
        throw FileError(concat(origin, ": key ", quote(key), " occurs twice in one object"));
      }
    }
    return true;
  };
  Json parsed;
  try {
    parsed = Json::parse(text, check_keys);
  } catch (const Json::parse_error& error) {
    throw FileError(concat(origin, ": is not valid JSON near byte ", error.byte));
  } catch (const Json::exception&) {
    throw FileError(concat(origin, ": holds a number that is out of range"));
  }
  if (!parsed.is_object()) {
    throw FileError(concat(origin, ": a JSON object was expected, not ", parsed.type_name()));
  }
  return parsed;
}

Json read_json_object(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return parse_json_object({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                           path.string());
}

void JsonFields::fail(const std::string& name, const std::string& text) const {
  throw FileError(concat(origin_, ": ", quote(where_ + name), ": ", text));
}

const Json* JsonFields::find(const std::string& name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null() ? &*found : nullptr;
}

const Json& JsonFields::get(const std::string& name) const {
  const Json* field = find(name);
  if (field == nullptr) {
    fail(name, "is missing");
  }
  return *field;
}

std::int64_t JsonFields::integer(const std::string& name, std::int64_t lowest,
                                 std::int64_t highest) const {
  const Json& field = get(name);
  if (!field.is_number_integer()) {
    fail(name, concat("an integer was expected, not ", field.type_name()));
  }
  // An unsigned value may be beyond int64.
  const bool too_large =
      field.is_number_unsigned() &&
      field.get<std::uint64_t>() > static_cast<std::uint64_t>(highest < 0 ? 0 : highest);
  const auto value = too_large ? highest : field.get<std::int64_t>();
  if (too_large || value < lowest || value > highest) {
    fail(name, concat("is ", field.dump(), "; an integer from ", lowest, " to ", highest,
                      " was expected"));
  }
  return value;
}

std::int64_t JsonFields::integer(const std::string& name, std::int64_t lowest, std::int64_t highest,
                                 std::int64_t fallback) const {
  return has(name) ? integer(name, lowest, highest) : fallback;
}

double JsonFields::number(const std::string& name) const {
  const Json& field = get(name);
  if (!field.is_number() || !std::isfinite(field.get<double>())) {
    fail(name, concat("a finite number was expected, not ", field.type_name()));
  }
  return field.get<double>();
}

double JsonFields::number(const std::string& name, double fallback) const {
  return has(name) ? number(name) : fallback;
}

bool JsonFields::boolean(const std::string& name, bool fallback) const {
  const Json* field = find(name);
  if (field == nullptr) {
    return fallback;
  }
  if (!field->is_boolean()) {
    fail(name, concat("true or false was expected, not ", field->type_name()));
  }
  return field->get<bool>();
}

std::string JsonFields::string(const std::string& name) const {
  const Json& field = get(name);
  if (!field.is_string()) {
    fail(name, concat("a string was expected, not ", field.type_name()));
  }
  return field.get<std::string>();
}

std::string JsonFields::string(const std::string& name, const std::string& fallback) const {
  return has(name) ? string(name) : fallback;
}

}  // namespace l2a
