#include "convert/hf_tokenizer.h"

#include <algorithm>
#include <unordered_set>

#include "convert/json_file.h"
#include "graph/error.h"
#include "models/mapped_file.h"
#include "models/quote.h"

namespace l2a {
namespace {

using Kind = TokenizerData::Kind;

// The object in a field, or an empty one: absent and null parts of a tokenizer are the same.
// `name` is no std::string: GCC 13 and 14 would take the result for a reference into a temporary.
const Json& object_or_empty(const JsonFields& fields, const char* name) {
  static const Json empty = Json::object();
  const Json* found = fields.find(name);
  if (found != nullptr && !found->is_object()) {
    fields.fail(name, concat("an object was expected, not ", found->type_name()));
  }
  return found != nullptr ? *found : empty;
}

bool has_values(const Json& object, std::initializer_list<std::pair<const char*, Json>> wanted) {
  return object.is_object() && std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
           const auto found = object.find(pair.first);
           return found != object.end() && *found == pair.second;
         });
}

// "qwen2" or "smollm", the ecosystem's names for the two ways of splitting text that are known
// here.
std::string recognise_pre_tokenizer(const JsonFields& fields) {
  const Json& pre = object_or_empty(fields, "pre_tokenizer");
  const auto steps = pre.find("pretokenizers");
  if (pre.value("type", Json()) == "Sequence" && steps != pre.end() && steps->is_array() &&
      steps->size() == 2) {
    const Json& first = (*steps)[0];
    const Json& second = (*steps)[1];
    const bool bytes = has_values(second, {{"type", "ByteLevel"}, {"add_prefix_space", false}});
    if (bytes && has_values(second, {{"use_regex", false}}) &&
        has_values(first, {{"type", "Split"},
                           {"pattern", {{"Regex", kHfQwen2Regex}}},
                           {"behavior", "Isolated"},
                           {"invert", false}})) {
      return "qwen2";
    }
    if (bytes && has_values(second, {{"use_regex", true}}) &&
        has_values(first, {{"type", "Digits"}, {"individual_digits", true}})) {
      return "smollm";
    }
  }
  fields.fail("pre_tokenizer", "is not one of the supported ones: Qwen2's and SmolLM's");
}

void check_model(const JsonFields& model) {
  if (const std::string type = model.string("type"); type != "BPE") {
    model.fail("type", concat(quote(type), " is not supported; byte-level 'BPE' is"));
  }
  for (const char* flag : {"byte_fallback", "ignore_merges"}) {
    if (model.boolean(flag, false)) {
      model.fail(flag, "true is not supported");
    }
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(affix, "").empty()) {
      model.fail(affix, "is not supported");
    }
  }
}

class Builder {
 public:
  Builder(TokenizerData& data, std::int64_t vocab_size) : data_(data), vocab_size_(vocab_size) {
    data_.tokens.resize(static_cast<std::size_t>(vocab_size));
    data_.kinds.assign(data_.tokens.size(), Kind::unused);
  }

  void add_vocabulary(const JsonFields& model) {
    const Json& vocabulary = model.get("vocab");
    if (!vocabulary.is_object()) {
      model.fail("vocab", "an object was expected");
    }
    for (const auto& [token, id] : vocabulary.items()) {
      const std::size_t index = check_id(model, "vocab", token, id);
      if (data_.kinds[index] != Kind::unused) {
        model.fail("vocab", concat("tokens ", quote(data_.tokens[index]), " and ", quote(token),
                                   " have the same id ", index));
      }
      data_.tokens[index] = token;
      data_.kinds[index] = Kind::normal;
    }
  }

  void add_merges(const JsonFields& model) {
    const Json& merges = model.get("merges");
    if (!merges.is_array()) {
      model.fail("merges", "a list was expected");
    }
    const std::unordered_set<std::string_view> known(data_.tokens.begin(), data_.tokens.end());
    for (const Json& merge : merges) {
      std::string text;
      if (merge.is_string()) {
        text = merge.get<std::string>();
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        text = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
      }
      const std::size_t space = text.find(' ');
      if (space == 0 || space >= text.size() - 1 ||
          text.find(' ', space + 1) != std::string::npos) {
        model.fail("merges", concat("entry ", data_.merges.size(),
                                    " is not a pair of tokens without spaces"));
      }
      const std::string left = text.substr(0, space);
      const std::string right = text.substr(space + 1);
      for (const std::string& part : {left, right, left + right}) {
        if (!known.contains(part)) {
          model.fail("merges", concat("entry ", data_.merges.size(), ": ", quote(part),
                                      " is not in the vocabulary"));
        }
      }
      data_.merges.push_back(std::move(text));
    }
  }

  // Returns whether any added token strips or delimits the text around it, which the runtime does
  // not.
  bool add_added_tokens(const JsonFields& fields) {
    const Json* added = fields.find("added_tokens");
    if (added == nullptr) {
      return false;
    }
    if (!added->is_array()) {
      fields.fail("added_tokens", "a list was expected");
    }
    bool strips = false;
    for (const Json& entry : *added) {
      if (!entry.is_object()) {
        fields.fail("added_tokens", "a list of objects was expected");
      }
      const JsonFields token(entry, fields.origin(), "added_tokens.");
      const std::string content = token.string("content");
      const std::size_t index = check_id(token, "id", content, token.get("id"));
      if (content.empty() ||
          (data_.kinds[index] != Kind::unused && data_.tokens[index] != content)) {
        token.fail("id", concat("id ", index, " is given to ", quote(content), " and ",
                                quote(data_.tokens[index])));
      }
      data_.tokens[index] = content;
      data_.kinds[index] = token.boolean("special", false) ? Kind::control : Kind::user_defined;
      for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
        strips = token.boolean(flag, false) || strips;
      }
    }
    return strips;
  }

  void fill_unused() {
    for (std::size_t id = 0; id < data_.tokens.size(); ++id) {
      if (data_.kinds[id] == Kind::unused) {
        data_.tokens[id] = concat("[PAD", id, "]");
      }
    }
  }

 private:
  std::size_t check_id(const JsonFields& fields, const std::string& field, std::string_view token,
                       const Json& id) const {
    if (!id.is_number_unsigned() ||
        id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size_)) {
      fields.fail(field, concat("token ", quote(token), " has the id ", id.dump(-1, ' ', true),
                                "; config.json's vocab_size allows 0 to ", vocab_size_ - 1));
    }
    return id.get<std::size_t>();
  }

  TokenizerData& data_;
  std::int64_t vocab_size_;
};

// The text of a special token in tokenizer_config.json, a string or an object with "content".
std::optional<std::string> special_token(const JsonFields& fields, const std::string& name) {
  const Json* found = fields.find(name);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (found->is_object()) {
    return JsonFields(*found, fields.origin(), name + ".").string("content");
  }
  return fields.string(name);
}

// tokenizer_config.json's chat_template: Jinja text, or a list of named ones of which "default" is
// taken.
std::string chat_template(const JsonFields& fields) {
  const Json* found = fields.find("chat_template");
  if (found == nullptr || !found->is_array()) {
    return fields.string("chat_template", "");
  }
  for (const Json& entry : *found) {
    if (has_values(entry, {{"name", "default"}})) {
      return JsonFields(entry, fields.origin(), "chat_template.").string("template");
    }
  }
  fields.fail("chat_template", "is a list without a template named 'default'");
}

void read_tokenizer_config(HfTokenizer& tokenizer, const std::filesystem::path& path) {
  TokenizerData& data = tokenizer.data;
  const Json root = read_json_object(path);
  const JsonFields fields(root, path.string());
  const auto id_of = [&](const std::string& name) -> std::optional<Token> {
    const auto text = special_token(fields, name);
    if (!text) {
      return std::nullopt;
    }
    const auto found = std::find(data.tokens.begin(), data.tokens.end(), *text);
    if (found == data.tokens.end()) {
      fields.fail(name, concat(quote(*text), " is not a token of tokenizer.json"));
    }
    return static_cast<Token>(found - data.tokens.begin());
  };
  data.bos = id_of("bos_token");
  data.eos = id_of("eos_token");
  data.padding = id_of("pad_token");
  data.add_bos = fields.boolean("add_bos_token", false);
  data.chat_template = chat_template(fields);
  tokenizer.files.push_back(path);
}

void read_normalizer(HfTokenizer& tokenizer, const JsonFields& fields) {
  const Json& normalizer = object_or_empty(fields, "normalizer");
  const bool composes = has_values(normalizer, {{"type", "NFC"}});
  if (!normalizer.empty() && !composes) {
    fields.fail("normalizer", "is not supported; NFC or none is");
  }
  const bool expected = tokenizer.data.pre == "qwen2";
  if (composes != expected) {
    tokenizer.warnings.push_back(concat(fields.origin(), ": normalizer is ",
                                        composes ? "NFC" : "none", ", but ", tokenizer.data.pre,
                                        " tokenizers run with ", expected ? "NFC" : "none",
                                        "; unusual text may be split differently"));
  }
}

}  // namespace

std::optional<HfTokenizer> HfTokenizer::read(const std::filesystem::path& folder,
                                             const HfConfig& config) {
  const std::filesystem::path path = folder / "tokenizer.json";
  if (!std::filesystem::exists(path)) {
    return std::nullopt;
  }
  HfTokenizer tokenizer;
  tokenizer.files.push_back(path);
  const Json root = read_json_object(path);
  const JsonFields fields(root, path.string());
  const Json& model_object = object_or_empty(fields, "model");
  const JsonFields model(model_object, path.string(), "model.");
  check_model(model);
  tokenizer.data.pre = recognise_pre_tokenizer(fields);
  read_normalizer(tokenizer, fields);
  if (has_values(object_or_empty(fields, "post_processor"), {{"type", "TemplateProcessing"}})) {
    fields.fail("post_processor", "'TemplateProcessing' is not supported");
  }

  Builder builder(tokenizer.data, config.model.vocabulary);
  builder.add_vocabulary(model);
  builder.add_merges(model);
  if (builder.add_added_tokens(fields)) {
    tokenizer.warnings.push_back(concat(path.string(),
                                        ": added tokens with lstrip, rstrip or single_word are "
                                        "matched without them"));
  }
  builder.fill_unused();

  if (const auto extra = folder / "tokenizer_config.json"; std::filesystem::exists(extra)) {
    read_tokenizer_config(tokenizer, extra);
  }
  // Newer checkpoints keep the template in a file of its own, which then wins.
  if (const auto file = folder / "chat_template.jinja"; std::filesystem::exists(file)) {
    const auto text = MappedFile::open(file);
    tokenizer.data.chat_template.assign(reinterpret_cast<const char*>(text->bytes().data()),
                                        text->bytes().size());
    tokenizer.files.push_back(file);
  }
  const auto fall_back = [](std::optional<Token>& token, const std::optional<std::int64_t>& id) {
    if (!token && id) {
      token = static_cast<Token>(*id);
    }
  };
  fall_back(tokenizer.data.bos, config.bos_id);
  fall_back(tokenizer.data.eos, config.eos_id);
  fall_back(tokenizer.data.padding, config.padding_id);
  return tokenizer;
}

}  // namespace l2a
