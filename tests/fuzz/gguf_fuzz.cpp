// Any bytes as a GGUF file: metadata, tensors, tokenizer, conversion, importance, and a step of the model.
#include "backends/cpu/cpu_backend.h"
#include "convert/checkpoint.h"
#include "convert/imatrix.h"
#include "models/gguf.h"
#include "models/session.h"
#include "models/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace {

using l2a::test::attempt;

void use_tokenizer(const l2a::GgufFile& file) {
  const l2a::Tokenizer tokenizer(l2a::TokenizerData::from_gguf(file));
  const std::vector<l2a::Token> tokens =
      tokenizer.encode("It's 1234 \u00e9\u4e16\u754c<|im_start|>  \n\tx");
  static_cast<void>(tokenizer.decode(tokens));
}

void convert(const std::filesystem::path& path) {
  const l2a::Checkpoint checkpoint = l2a::open_gguf_checkpoint(path);
  for (const l2a::SourceTensor& tensor : checkpoint.tensors) {
    std::vector<float> row(static_cast<std::size_t>(tensor.row_length()));
    if (tensor.rows() > 0) tensor.read(tensor.rows() - 1, row);
  }
}

void run(const std::shared_ptr<const l2a::GgufFile>& file) {
  static const std::shared_ptr<l2a::Backend> backend = l2a::make_cpu_backend({1, std::nullopt});
  const auto model = l2a::Model::load(file, backend);
  // Sizes are checked against the tensors, but a wide model in a small file is still slow to run.
  if (model->config().vocabulary * model->config().hidden > 1 << 16) return;
  l2a::SessionOptions options;
  options.context = 8;
  l2a::Session session(model, backend, {}, options);
  const std::vector<l2a::Token> tokens{0, 1, 0};
  session.step(tokens, l2a::LogitsOf::last);
  session.decode(1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > l2a::test::kLargestInput) return -1;
  const std::filesystem::path path = l2a::test::input_file("input.gguf", data, size);
  attempt([&] {
    const std::shared_ptr<const l2a::GgufFile> file = l2a::GgufFile::open(path);
    for (const l2a::GgufTensor& tensor : file->tensors()) l2a::test::touch(tensor.data);
    attempt([&] { use_tokenizer(*file); });
    attempt([&] { convert(path); });
    attempt([&] { static_cast<void>(l2a::read_imatrix(path)); });
    attempt([&] { run(file); });
  });
  return 0;
}
