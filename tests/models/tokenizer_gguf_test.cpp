#include <doctest/doctest.h>

#include "convert/gguf_writer.h"
#include "graph/error.h"
#include "models/gguf.h"
#include "tests/models/tokenizer_data.h"
#include "tests/temporary_folder.h"

namespace l2a::test {
namespace {

// Writes the small tokenizer, after `change` had its way with it, and reads it back.
struct Fields {
  TokenizerData data = make_small_data();
  std::string model = "gpt2";
  std::vector<std::int32_t> types;
  std::optional<std::uint32_t> eos = 257;
};

template <class Change>
TokenizerData round_trip(Change change) {
  Fields fields;
  for (const auto kind : fields.data.kinds) fields.types.push_back(static_cast<int>(kind));
  change(fields);
  const TemporaryFolder folder;
  GgufMetadata metadata;
  if (!fields.model.empty()) metadata.set_string("tokenizer.ggml.model", fields.model);
  if (!fields.data.pre.empty()) metadata.set_string("tokenizer.ggml.pre", fields.data.pre);
  metadata.set_array("tokenizer.ggml.tokens", std::span<const std::string>(fields.data.tokens));
  metadata.set_array("tokenizer.ggml.merges", std::span<const std::string>(fields.data.merges));
  if (!fields.types.empty()) {
    metadata.set_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(fields.types));
  }
  if (fields.eos) metadata.set_u32("tokenizer.ggml.eos_token_id", *fields.eos);
  metadata.set_u32("tokenizer.ggml.bos_token_id", 3);
  metadata.set_bool("tokenizer.ggml.add_bos_token", true);
  metadata.set_string("tokenizer.chat_template", "{{ chat }}");
  GgufWriter writer(folder / "t.gguf", std::move(metadata));
  writer.finish();
  return TokenizerData::from_gguf(*GgufFile::open(folder / "t.gguf"));
}

template <class Change>
std::string refusal(Change change) {
  return message_of<FileError>([&] { round_trip(change); });
}

TEST_CASE("a tokenizer is read from a file") {
  const TokenizerData expected = make_small_data();
  const TokenizerData data = round_trip([](Fields&) {});
  CHECK(data.tokens == expected.tokens);
  CHECK(data.kinds == expected.kinds);
  CHECK(data.merges == expected.merges);
  CHECK(data.pre == "qwen2");
  CHECK(data.bos == 3);
  CHECK(data.eos == 257);
  CHECK(!data.eot);
  CHECK(!data.unknown);
  CHECK(!data.padding);
  CHECK(data.add_bos);
  CHECK(data.chat_template == "{{ chat }}");
  CHECK(Tokenizer(data).encode("hello").size() == 1);
}

TEST_CASE("without token types every token is an ordinary one") {
  const TokenizerData data = round_trip([](Fields& fields) { fields.types.clear(); });
  CHECK(data.kinds ==
        std::vector<TokenizerData::Kind>(data.tokens.size(), TokenizerData::Kind::normal));
}

TEST_CASE("a file without a tokenizer that is supported is refused") {
  CHECK(contains(refusal([](Fields& fields) { fields.model = "no_vocab"; }), "has no tokenizer"));
  CHECK(contains(refusal([](Fields& fields) { fields.model.clear(); }), "has no tokenizer"));
  CHECK(contains(refusal([](Fields& fields) { fields.model = "llama"; }), "model is 'llama'"));
  CHECK(contains(refusal([](Fields& fields) { fields.data.pre = "mpt"; }), "pre is 'mpt'"));
  CHECK(contains(refusal([](Fields& fields) { fields.data.pre.clear(); }), "pre is missing"));
}

TEST_CASE("inconsistent fields are refused") {
  CHECK(contains(refusal([](Fields& fields) { fields.types.pop_back(); }),
                 "token_type has 264 entries for 265 tokens"));
  CHECK(contains(refusal([](Fields& fields) { fields.types[2] = 7; }), "token_type[2] is 7"));
  CHECK(contains(refusal([](Fields& fields) { fields.eos = 265; }),
                 "eos_token_id is 265, outside the vocabulary of 265"));
}

}  // namespace
}  // namespace l2a::test
