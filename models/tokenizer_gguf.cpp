// TokenizerData from the `tokenizer.*` metadata of a GGUF file.
#include <limits>

#include "graph/error.h"
#include "models/gguf.h"
#include "models/pretokenizer.h"
#include "models/quote.h"
#include "models/tokenizer.h"

namespace l2a {
namespace {

[[noreturn]] void fail(const GgufFile& file, const std::string& what) {
  throw FileError(concat(file.path().string(), ": ", what));
}

void require_supported(const GgufFile& file) {
  if (!TokenizerData::present(file)) {
    fail(file, "the file has no tokenizer; give token ids instead of text");
  }
  const std::string& model = file.get_string("tokenizer.ggml.model");
  if (model != "gpt2") {
    fail(file, concat("tokenizer.ggml.model is ", quote(model),
                      "; only byte-level BPE ('gpt2') is supported"));
  }
  const std::string* pre = file.find_string("tokenizer.ggml.pre");
  if (!pre) fail(file, "tokenizer.ggml.pre is missing; 'qwen2' or 'smollm' was expected");
  if (!PreTokenizer::is_known(*pre)) {
    fail(file,
         concat("tokenizer.ggml.pre is ", quote(*pre), "; 'qwen2' and 'smollm' are supported"));
  }
}

std::vector<TokenizerData::Kind> read_kinds(const GgufFile& file, std::size_t count) {
  using Kind = TokenizerData::Kind;
  const auto types = file.find_ints("tokenizer.ggml.token_type");
  if (!types) return std::vector<Kind>(count, Kind::normal);
  if (types->size() != count) {
    fail(file, concat("tokenizer.ggml.token_type has ", types->size(), " entries for ", count,
                      " tokens"));
  }
  std::vector<Kind> kinds;
  kinds.reserve(count);
  for (const std::int64_t type : *types) {
    if (type < static_cast<int>(Kind::normal) || type > static_cast<int>(Kind::byte)) {
      fail(file, concat("tokenizer.ggml.token_type[", kinds.size(), "] is ", type,
                        "; 1 to 6 was expected"));
    }
    kinds.push_back(static_cast<Kind>(type));
  }
  return kinds;
}

std::optional<Token> read_id(const GgufFile& file, const char* key, std::size_t count) {
  const auto id = file.find_u64(key);
  if (!id) return std::nullopt;
  if (*id >= count) {
    fail(file, concat(key, " is ", *id, ", outside the vocabulary of ", count));
  }
  return static_cast<Token>(*id);
}

}  // namespace

bool TokenizerData::present(const GgufFile& file) {
  const std::string* model = file.find_string("tokenizer.ggml.model");
  return model != nullptr && *model != "no_vocab" && *model != "none";
}

TokenizerData TokenizerData::from_gguf(const GgufFile& file) {
  require_supported(file);
  TokenizerData data;
  data.pre = file.get_string("tokenizer.ggml.pre");
  data.tokens = file.get_strings("tokenizer.ggml.tokens");
  const std::size_t count = data.tokens.size();
  if (count == 0 || count > static_cast<std::size_t>(std::numeric_limits<Token>::max())) {
    fail(file, concat("tokenizer.ggml.tokens has ", count, " entries"));
  }
  data.kinds = read_kinds(file, count);
  data.merges = file.get_strings("tokenizer.ggml.merges");
  data.bos = read_id(file, "tokenizer.ggml.bos_token_id", count);
  data.eos = read_id(file, "tokenizer.ggml.eos_token_id", count);
  data.eot = read_id(file, "tokenizer.ggml.eot_token_id", count);
  data.unknown = read_id(file, "tokenizer.ggml.unknown_token_id", count);
  data.padding = read_id(file, "tokenizer.ggml.padding_token_id", count);
  data.add_bos = file.find_bool("tokenizer.ggml.add_bos_token").value_or(false);
  if (const std::string* text = file.find_string("tokenizer.chat_template")) {
    data.chat_template = *text;
  }
  return data;
}

}  // namespace l2a
