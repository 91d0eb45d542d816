#include "convert/hf_tokenizer_json.h"

#include "convert/hf_tokenizer.h"
#include "graph/error.h"
#include "models/pretokenizer.h"
#include "models/quote.h"

namespace l2a {
namespace {

using Json = nlohmann::json;
using Kind = TokenizerData::Kind;

bool is_added(Kind kind) {
  return kind == Kind::control || kind == Kind::unknown || kind == Kind::user_defined;
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json pre_tokenizer(bool smollm) {
  const Json first = smollm ? Json{{"type", "Digits"}, {"individual_digits", true}}
                            : Json{{"type", "Split"},
                                   {"pattern", {{"Regex", kHfQwen2Regex}}},
                                   {"behavior", "Isolated"},
                                   {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({first, byte_level(smollm)})}};
}

// Added tokens are in the vocabulary too: readers number those that are not by themselves.
Json vocabulary(const TokenizerData& tokenizer, const std::string& origin) {
  Json vocabulary = Json::object();
  for (std::size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    if (tokenizer.kinds[id] == Kind::unused) continue;
    const auto [found, fresh] = vocabulary.emplace(tokenizer.tokens[id], id);
    if (!fresh) {
      throw FileError(concat(origin, ": tokens ", found->dump(), " and ", id, " are both ",
                             quote(tokenizer.tokens[id])));
    }
  }
  return vocabulary;
}

Json added_tokens(const TokenizerData& tokenizer) {
  Json added = Json::array();
  for (std::size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    if (!is_added(tokenizer.kinds[id])) continue;
    added.push_back({{"id", id},
                     {"content", tokenizer.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", tokenizer.kinds[id] != Kind::user_defined}});
  }
  return added;
}

Json merges(const TokenizerData& tokenizer, const std::string& origin) {
  Json pairs = Json::array();
  for (const std::string& merge : tokenizer.merges) {
    const std::size_t space = merge.find(' ');
    if (space == 0 || space >= merge.size() - 1) {
      throw FileError(concat(origin, ": merge ", quote(merge), " is not a pair of tokens"));
    }
    pairs.push_back(Json::array({merge.substr(0, space), merge.substr(space + 1)}));
  }
  return pairs;
}

}  // namespace

Json hf_tokenizer_json(const TokenizerData& tokenizer, const std::string& origin) {
  const PreTokenizer known(tokenizer.pre);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(tokenizer)},
          {"normalizer", known.wants_nfc() ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", pre_tokenizer(tokenizer.pre == "smollm")},
          {"post_processor", nullptr},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary(tokenizer, origin)},
            {"merges", merges(tokenizer, origin)}}}};
}

Json hf_tokenizer_config_json(const TokenizerData& tokenizer, std::int64_t context) {
  // This class takes tokenizer.json as it is, whatever the model's own class would do.
  Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"clean_up_tokenization_spaces", false},
               {"model_max_length", context},
               {"add_bos_token", tokenizer.add_bos}};
  const auto token = [&](const char* name, const std::optional<Token>& id) {
    json[name] = id ? Json(tokenizer.tokens[static_cast<std::size_t>(*id)]) : Json();
  };
  token("bos_token", tokenizer.bos);
  token("eos_token", tokenizer.eos);
  token("pad_token", tokenizer.padding);
  token("unk_token", tokenizer.unknown);
  if (!tokenizer.chat_template.empty()) json["chat_template"] = tokenizer.chat_template;
  return json;
}

}  // namespace l2a
