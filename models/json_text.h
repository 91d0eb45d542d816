// JSON text as Python writes it, which is how models saw it in training.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace l2a {

// What json.dumps(value, ensure_ascii=False) prints: ", " and ": ", keys in order, floats by repr.
// Throws Error when the value is nested more than 200 deep.
std::string python_json(const nlohmann::ordered_json& value);

}  // namespace l2a
