#include "models/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <limits>
#include <string>
#include <type_traits>

#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

template <auto kFree>
struct Freer {
  template <class T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;

[[noreturn]] void fail(std::string_view doing, int code) {
  std::array<PCRE2_UCHAR, 256> message{};
  pcre2_get_error_message(code, message.data(), message.size());
  throw Error(concat(doing, ": ", reinterpret_cast<const char*>(message.data())));
}

class Regex {
 public:
  explicit Regex(const std::string& pattern) : context_(pcre2_match_context_create(nullptr)) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &code, &offset, nullptr));
    if (!code_) fail(concat("compiling the pre-tokenizer's regex at offset ", offset), code);
    if (!context_) fail("preparing the pre-tokenizer", PCRE2_ERROR_NOMEMORY);
    // Without JIT, stepping back over a run of spaces counts against a limit meant for hostile
    // patterns; ours are fixed and linear, so long text may not run into it.
    pcre2_set_match_limit(context_.get(), std::numeric_limits<std::uint32_t>::max());
    // An error means that JIT is not available here; matching then interprets.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  }

  // Appends the matches and the pieces between them.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const {
    const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (!data) fail("splitting text", PCRE2_ERROR_NOMEMORY);
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
    std::size_t at = 0;
    while (at < text.size()) {
      // The caller vouches for the UTF-8: checking all the text at each match would be quadratic.
      const int code = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                   text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), context_.get());
      if (code == PCRE2_ERROR_NOMATCH) break;
      if (code < 0) fail("splitting text", code);
      if (match[0] > at) pieces.push_back(text.substr(at, match[0] - at));
      pieces.push_back(text.substr(match[0], match[1] - match[0]));
      at = match[1];
    }
    if (at < text.size()) pieces.push_back(text.substr(at));
  }

 private:
  Code code_;
  MatchContext context_;
};

// White space is spelled out as Unicode's White_Space property: PCRE2's own \s adds U+180E to it,
// which the reference does not.
constexpr const char* kSpaces =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// What every pattern ends with: symbols, then white space of which the last character before a word
// is left to that word.
std::string symbols(const std::string& tail) {
  return concat(" ?[^", kSpaces, R"(\p{L}\p{N}]+)", tail);
}
std::string white_space() {
  return concat("[", kSpaces, "]+(?![^", kSpaces, "])|[", kSpaces, "]+");
}

std::string qwen2_pattern() {
  return concat(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)",
                symbols(R"([\r\n]*)"), "|[", kSpaces, R"(]*[\r\n]+|)", white_space());
}

std::string gpt2_pattern() {
  return concat(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|)", symbols(""), "|", white_space());
}

}  // namespace

struct PreTokenizer::Impl {
  bool wants_nfc = false;
  // Each splits the pieces of the one before, and so sees a piece's end as the end of the text.
  std::vector<Regex> stages;
};

bool PreTokenizer::is_known(std::string_view pre) {
  return pre == "qwen2" || pre == "deepseek-r1-qwen" || pre == "smollm";
}

PreTokenizer::PreTokenizer(std::string_view pre) : impl_(std::make_unique<Impl>()) {
  if (!is_known(pre)) {
    throw Error(concat("pre-tokenizer ", quote(pre), " is not supported (qwen2 and smollm are)"));
  }
  if (pre == "smollm") {
    impl_->stages.emplace_back(R"(\p{N})");
    impl_->stages.emplace_back(gpt2_pattern());
  } else {
    impl_->wants_nfc = true;
    impl_->stages.emplace_back(qwen2_pattern());
  }
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

bool PreTokenizer::wants_nfc() const { return impl_->wants_nfc; }

void PreTokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  std::vector<std::string_view> pieces{text};
  for (const Regex& stage : impl_->stages) {
    const bool last = &stage == &impl_->stages.back();
    std::vector<std::string_view> next;
    for (const std::string_view piece : pieces) stage.split(piece, last ? words : next);
    pieces = std::move(next);
  }
}

}  // namespace l2a
