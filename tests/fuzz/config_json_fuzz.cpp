// Any bytes as a config.json: read, and made into the list of tensors that the model must have.
#include "convert/hf_config.h"
#include "convert/tensor_plan.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > l2a::test::kLargestInput) return -1;
  const std::filesystem::path path = l2a::test::input_file("config.json", data, size);
  l2a::test::attempt(
      [&] { static_cast<void>(plan_tensors(l2a::HfConfig::read(path.parent_path()))); });
  return 0;
}
