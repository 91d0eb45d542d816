// Any bytes as a tokenizer.json: read as conversion reads it, then used.
#include "convert/hf_tokenizer.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > l2a::test::kLargestInput) return -1;
  const std::filesystem::path path = l2a::test::input_file("tokenizer.json", data, size);
  l2a::HfConfig config{};
  config.model.vocabulary = 1024;
  l2a::test::attempt([&] {
    const auto read = l2a::HfTokenizer::read(path.parent_path(), config);
    if (!read) return;
    const l2a::Tokenizer tokenizer(read->data);
    static_cast<void>(
        tokenizer.decode(tokenizer.encode("It's 1234 \u00e9\u4e16\u754c<|im_start|>  \n\tx")));
  });
  return 0;
}
