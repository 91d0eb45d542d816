// The real Qwen3 tokenizer of tests/data/tokenizer-qwen3, and a small one made up for the tests.
#pragma once

#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/byte_level.h"
#include "models/tokenizer.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

inline const std::string kTokenizerFolder = L2A_TEST_DATA "/tokenizer-qwen3/";

// The file is 11 MB unpacked, so it stays packed in the repository and on disk.
inline std::string read_xz(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      popen(("xz -dc '" + path + "'").c_str(), "r"), &pclose);
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) {
    text.append(buffer.data(), count);
  }
  if (text.empty()) throw std::runtime_error("cannot unpack " + path + " (is xz installed?)");
  return text;
}

// Hugging Face's tokenizer.json as the converter would write it to a GGUF file.
inline TokenizerData load_qwen3_data() {
  const auto json = nlohmann::json::parse(read_xz(kTokenizerFolder + "tokenizer.json.xz"));
  const auto& vocabulary = json["model"]["vocab"];
  const auto& added = json["added_tokens"];
  TokenizerData data;
  data.pre = "qwen2";
  data.tokens.resize(vocabulary.size() + added.size());
  data.kinds.assign(data.tokens.size(), TokenizerData::Kind::normal);
  for (const auto& [text, id] : vocabulary.items()) data.tokens.at(id.get<std::size_t>()) = text;
  for (const auto& token : added) {
    const auto id = token["id"].get<std::size_t>();
    data.tokens.at(id) = token["content"].get<std::string>();
    data.kinds.at(id) = token["special"].get<bool>() ? TokenizerData::Kind::control
                                                     : TokenizerData::Kind::user_defined;
  }
  for (const auto& merge : json["model"]["merges"]) {
    data.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  const auto config = nlohmann::json::parse(read_file(kTokenizerFolder + "tokenizer_config.json"));
  data.chat_template = config["chat_template"].get<std::string>();
  data.eos = 151645;
  data.padding = 151643;
  return data;
}

inline const Tokenizer& qwen3_tokenizer() {
  static const Tokenizer tokenizer(load_qwen3_data());
  return tokenizer;
}

// Token i is byte i for i < 256. Then come merges of "hello" and special tokens.
inline TokenizerData make_small_data(const std::string& pre = "qwen2") {
  using Kind = TokenizerData::Kind;
  TokenizerData data;
  data.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    data.tokens.push_back(byte_level_symbol(static_cast<std::uint8_t>(byte)));
  }
  for (const char* text : {"he", "ll", "hell", "hello"}) data.tokens.emplace_back(text);
  data.merges = {"h e", "l l", "he ll", "hell o"};
  data.kinds.assign(data.tokens.size(), Kind::normal);
  const auto add = [&](const char* text, Kind kind) {
    data.tokens.emplace_back(text);
    data.kinds.push_back(kind);
  };
  add("<|im_start|>", Kind::control);
  add("<|im_end|>", Kind::control);
  add("<think>", Kind::user_defined);
  add("<think>>", Kind::user_defined);
  add("[PAD0]", Kind::unused);
  return data;
}

inline std::vector<nlohmann::ordered_json> read_json_lines(const std::string& name) {
  std::istringstream lines(read_file(kTokenizerFolder + name));
  std::vector<nlohmann::ordered_json> out;
  for (std::string line; std::getline(lines, line);) {
    out.push_back(nlohmann::ordered_json::parse(line));
  }
  return out;
}

}  // namespace l2a::test
