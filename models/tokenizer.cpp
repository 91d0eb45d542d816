#include "models/tokenizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <functional>
#include <limits>
#include <unordered_map>

#include "graph/error.h"
#include "models/bpe.h"
#include "models/byte_level.h"
#include "models/pretokenizer.h"
#include "models/quote.h"
#include "models/utf8.h"

namespace l2a {
namespace {

using Kind = TokenizerData::Kind;

bool is_control(Kind kind) { return kind == Kind::control || kind == Kind::unknown; }

// Tokens that are written in the vocabulary as they read, not in byte-level form.
bool is_verbatim(Kind kind) {
  return is_control(kind) || kind == Kind::user_defined || kind == Kind::unused;
}

void check_id(const TokenizerData& data, const std::optional<Token>& id, const char* what) {
  if (id && (*id < 0 || static_cast<std::size_t>(*id) >= data.tokens.size())) {
    throw Error(concat("the tokenizer's ", what, " token ", *id, " is outside its vocabulary of ",
                       data.tokens.size()));
  }
}

void check(const TokenizerData& data) {
  if (data.tokens.empty()) throw Error("the tokenizer's vocabulary is empty");
  if (data.tokens.size() > static_cast<std::size_t>(std::numeric_limits<Token>::max())) {
    throw Error(concat("the tokenizer's vocabulary is too large: ", data.tokens.size()));
  }
  if (data.kinds.size() != data.tokens.size()) {
    throw Error(concat("the tokenizer has ", data.tokens.size(), " tokens but ", data.kinds.size(),
                       " token types"));
  }
  check_id(data, data.bos, "BOS");
  check_id(data, data.eos, "EOS");
  check_id(data, data.eot, "EOT");
  check_id(data, data.unknown, "unknown");
  check_id(data, data.padding, "padding");
}

// Token ids by text. Open addressing over ids alone, at most half full: with it Qwen3's tokenizer is ready
// in 55 ms, with a std::unordered_map in 105.
class Vocabulary {
 public:
  // `data` has to stay where it is.
  explicit Vocabulary(const TokenizerData& data)
      : data_(data), slots_(std::bit_ceil(2 * data.tokens.size()), Slot{0, kEmpty}) {
    for (std::size_t i = 0; i < data.tokens.size(); ++i) {
      const std::uint32_t hash = hash_of(data.tokens[i]);
      Slot& slot = slots_[find_slot(data.tokens[i], hash)];
      if (slot.token != kEmpty) {
        throw Error(concat("the tokenizer's tokens ", slot.token, " and ", i, " are both ",
                           quote(data.tokens[i])));
      }
      slot = {hash, static_cast<Token>(i)};
    }
  }

  std::optional<Token> find(std::string_view text) const {
    const Token token = slots_[find_slot(text, hash_of(text))].token;
    return token == kEmpty ? std::nullopt : std::optional(token);
  }

 private:
  static constexpr Token kEmpty = -1;
  struct Slot {
    std::uint32_t hash;  // compared first, so that a probe seldom touches another token's text
    Token token;
  };

  static std::uint32_t hash_of(std::string_view text) {
    return static_cast<std::uint32_t>(std::hash<std::string_view>{}(text));
  }

  std::size_t find_slot(std::string_view text, std::uint32_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].token != kEmpty &&
           !(slots_[at].hash == hash &&
             data_.tokens[static_cast<std::size_t>(slots_[at].token)] == text)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  const TokenizerData& data_;
  std::vector<Slot> slots_;
};

// The tokens that are found in text before it is split into words; the longest first where several
// match.
class SpecialTokens {
 public:
  explicit SpecialTokens(const TokenizerData& data) : data_(data) {
    for (std::size_t i = 0; i < data.tokens.size(); ++i) {
      const bool is_special = is_control(data.kinds[i]) || data.kinds[i] == Kind::user_defined;
      if (!is_special || data.tokens[i].empty()) continue;
      by_first_byte_[first_byte(data.tokens[i])].push_back(static_cast<Token>(i));
    }
    for (auto& tokens : by_first_byte_) {
      std::stable_sort(tokens.begin(), tokens.end(),
                       [&](Token a, Token b) { return text(a).size() > text(b).size(); });
    }
  }

  struct Match {
    std::size_t offset;
    Token token;
  };

  // The leftmost match at or after `from`.
  std::optional<Match> find(std::string_view in, std::size_t from, bool with_control) const {
    for (std::size_t at = from; at < in.size(); ++at) {
      for (const Token token : by_first_byte_[first_byte(in.substr(at))]) {
        if (!with_control && is_control(data_.kinds[static_cast<std::size_t>(token)])) continue;
        if (in.compare(at, text(token).size(), text(token)) == 0) return Match{at, token};
      }
    }
    return std::nullopt;
  }

 private:
  static unsigned char first_byte(std::string_view bytes) {
    return static_cast<unsigned char>(bytes.front());
  }
  const std::string& text(Token token) const {
    return data_.tokens[static_cast<std::size_t>(token)];
  }

  const TokenizerData& data_;
  std::array<std::vector<Token>, 256> by_first_byte_;
};

constexpr std::array<std::string_view, 4> kEndTexts = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>",
                                                       "</s>"};

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerData data_in)
      : data((check(data_in), std::move(data_in))),
        pretokenizer(data.pre),
        vocabulary(data),
        specials(data),
        bpe(data.merges, [this](std::string_view text) { return vocabulary.find(text); }) {
    for (const auto& id : {data.eos, data.eot}) {
      if (id) ends.push_back(*id);
    }
    for (const std::string_view text : kEndTexts) {
      const auto id = vocabulary.find(text);
      if (id && is_control(kind(*id))) ends.push_back(*id);
    }
  }

  Kind kind(Token token) const { return data.kinds[static_cast<std::size_t>(token)]; }

  const TokenizerData data;
  PreTokenizer pretokenizer;
  Vocabulary vocabulary;
  SpecialTokens specials;
  Bpe bpe;
  std::vector<Token> ends;
};

namespace {

// One call of encode: its output, and the words that it has already merged. The cache lives no
// longer than the call, so it is bounded by the text and needs no lock.
class Encoder {
 public:
  Encoder(const PreTokenizer& pretokenizer, const Bpe& bpe)
      : pretokenizer_(pretokenizer), bpe_(bpe) {}

  void add_token(Token token) { out_.push_back(token); }

  void add_text(std::string_view text) {
    if (text.empty()) return;
    if (pretokenizer_.wants_nfc() && !is_trivially_nfc(text)) {
      text = normalized_.emplace_back(normalize_nfc(text));
    }
    words_.clear();
    pretokenizer_.split(text, words_);
    for (const std::string_view word : words_) add_word(word);
  }

  std::vector<Token> take() { return std::move(out_); }

 private:
  struct Range {
    std::size_t begin, end;
  };

  void add_word(std::string_view word) {
    const auto [known, is_new] = cache_.try_emplace(word, Range{out_.size(), 0});
    if (is_new) {
      bpe_.encode(word, workspace_, out_);
      known->second.end = out_.size();
      return;
    }
    const Range range = known->second;
    for (std::size_t i = range.begin; i < range.end; ++i) {
      const Token token = out_[i];  // not a reference: push_back may move what it would refer to
      out_.push_back(token);
    }
  }

  const PreTokenizer& pretokenizer_;
  const Bpe& bpe_;
  Bpe::Workspace workspace_;
  std::deque<std::string> normalized_;  // what the cache's keys view beside the caller's text
  std::vector<std::string_view> words_;
  std::unordered_map<std::string_view, Range> cache_;
  std::vector<Token> out_;
};

}  // namespace

Tokenizer::Tokenizer(TokenizerData data) : impl_(std::make_unique<Impl>(std::move(data))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

const TokenizerData& Tokenizer::data() const { return impl_->data; }

std::int64_t Tokenizer::vocabulary_size() const {
  return static_cast<std::int64_t>(impl_->data.tokens.size());
}

std::vector<Token> Tokenizer::encode(std::string_view text, bool parse_special) const {
  if (const auto offset = find_invalid_utf8(text)) {
    throw Error(concat("the text is not valid UTF-8 at byte ", *offset));
  }
  Encoder encoder(impl_->pretokenizer, impl_->bpe);
  std::size_t at = 0;
  while (const auto special = impl_->specials.find(text, at, parse_special)) {
    encoder.add_text(text.substr(at, special->offset - at));
    encoder.add_token(special->token);
    at = special->offset + impl_->data.tokens[static_cast<std::size_t>(special->token)].size();
  }
  encoder.add_text(text.substr(at));
  return encoder.take();
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool skip_special) const {
  std::string out;
  for (const Token token : tokens) {
    if (token < 0 || token >= vocabulary_size()) {
      throw Error(concat("token ", token, " is outside the vocabulary of ", vocabulary_size()));
    }
    const std::string& text = impl_->data.tokens[static_cast<std::size_t>(token)];
    const Kind kind = impl_->kind(token);
    if (is_verbatim(kind)) {
      if (!(skip_special && is_control(kind))) out += text;
    } else {
      out += decode_byte_level(text).value_or(text);
    }
  }
  return out;
}

std::optional<Token> Tokenizer::find(std::string_view token_text) const {
  return impl_->vocabulary.find(token_text);
}

bool Tokenizer::ends_generation(Token token) const {
  return std::find(impl_->ends.begin(), impl_->ends.end(), token) != impl_->ends.end();
}

std::string StreamDecoder::push(Token token) {
  held_ += tokenizer_.decode({&token, 1});
  return take_complete_utf8(held_);
}

std::string StreamDecoder::finish() {
  // What is held is the start of one character, or nothing.
  std::string out;
  if (!held_.empty()) append_utf8(out, U'\uFFFD');
  held_.clear();
  return out;
}

}  // namespace l2a
