// Any bytes as a .safetensors file: every tensor's bytes, its values where it has some, and as saved logits.
#include "convert/safetensors.h"
#include "convert/saved_logits.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > l2a::test::kLargestInput) return -1;
  const std::filesystem::path path = l2a::test::input_file("model.safetensors", data, size);
  l2a::test::attempt([&] {
    const l2a::Safetensors file = l2a::Safetensors::open_file(path);
    for (const auto& [name, tensor] : file.tensors()) {
      l2a::test::touch(tensor.data);
      l2a::test::attempt([&, &tensor = tensor] {
        std::vector<float> values(tensor.data.size() / l2a::safetensors_type_bytes(tensor.type));
        l2a::read_floats(tensor, 0, values);
      });
    }
    l2a::test::attempt([&] {
      const l2a::SavedLogits saved = l2a::SavedLogits::open(path);
      static_cast<void>(saved.tokens());
      const std::int64_t last = saved.chunks() * saved.scored() - 1;
      if (last < 0) return;
      l2a::test::touch(saved.log_probs(last));
      static_cast<void>(saved.next(last));
      static_cast<void>(saved.most_likely(last));
    });
  });
  return 0;
}
