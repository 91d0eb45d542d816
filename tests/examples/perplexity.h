// What tests of l2a-perplexity and of the files it writes share.
#pragma once

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "tests/examples/program.h"
#include "tests/models/test_model.h"

namespace l2a::test {

inline std::string ids(std::span<const Token> tokens) {
  std::string text;
  for (const Token token : tokens) text += std::to_string(token) + ",";
  return text;
}

// What a program prints with --json; nothing may go to standard error.
inline nlohmann::json json_of(const std::string& program, std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const Ended ended = run(program, arguments);
  CHECK(ended.code == 0);
  CHECK(ended.err == "");
  nlohmann::json json = nlohmann::json::parse(ended.out, nullptr, false);
  REQUIRE(json.is_object());
  return json;
}

}  // namespace l2a::test
