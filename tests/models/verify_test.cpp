#include "models/verify.h"

#include <doctest/doctest.h>

#include "convert/convert.h"
#include "graph/error.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;

TEST_CASE("a byte that changed is found, in whichever tensor it is") {
  const test::TemporaryFolder folder;
  convert_checkpoint({test::checkpoint("l2a-qwen3-tiny"), folder / "a.gguf", Dtype::q8_0});
  std::uint64_t expected = 0, last = 0;
  {
    const auto file = GgufFile::open(folder / "a.gguf");
    for (const GgufTensor& tensor : file->tensors()) expected += tensor.data.size();
    for (const int threads : {1, 3}) {
      CHECK(damaged_tensors(*file, threads, [&](auto done, auto total, auto) {
              last = done;
              CHECK(total == expected);
            }).empty());
      CHECK(last == expected);
    }
    require_intact(*file);
  }
  const std::string whole = test::read_file(folder / "a.gguf");
  const auto file = GgufFile::open(folder / "a.gguf");
  const auto damage = [&](std::string& bytes, const GgufTensor& tensor, std::size_t at) {
    // Where the tensor lies: the first place with its bytes.
    const std::string_view data(reinterpret_cast<const char*>(tensor.data.data()),
                                tensor.data.size());
    bytes[whole.find(data) + at] ^= 1;
  };
  for (const char* name : {"token_embd.weight", "blk.1.attn_router.weight", "output.weight"}) {
    CAPTURE(name);
    const GgufTensor& tensor = *file->find_tensor(name);
    std::string bytes = whole;
    damage(bytes, tensor, tensor.data.size() - 1);
    const auto damaged = GgufFile::open(folder.write("b.gguf", bytes));
    CHECK(damaged_tensors(*damaged, 2) == std::vector<std::string>{name});
    CHECK(contains(message_of<FileError>([&] { require_intact(*damaged); }),
                   concat("b.gguf: the checksum of tensor '", name, "' does not match")));
  }
  std::string bytes = whole;
  damage(bytes, *file->find_tensor("output.weight"), 0);
  damage(bytes, *file->find_tensor("token_embd.weight"), 0);
  const auto damaged = GgufFile::open(folder.write("b.gguf", bytes));
  CHECK(damaged_tensors(*damaged) ==
        std::vector<std::string>{"token_embd.weight", "output.weight"});
  CHECK(contains(message_of<FileError>([&] { require_intact(*damaged); }), "and 1 more"));
}

TEST_CASE("a file without checksums, or with too few, cannot be verified and says so") {
  const test::TemporaryFolder folder;
  convert_checkpoint({test::checkpoint("qwen2-tiny"), folder / "a.gguf", Dtype::f16});
  const std::string whole = test::read_file(folder / "a.gguf");
  const auto failure = [&](std::string_view from, std::string_view to) {
    std::string bytes = whole;
    bytes.replace(bytes.find(from), from.size(), to);
    const auto file = GgufFile::open(folder.write("b.gguf", bytes));
    return message_of<FileError>([&] { damaged_tensors(*file); });
  };
  CHECK(contains(failure("l2a.tensor_xxh3", "l2a.tensor_none"), "has no checksums"));
  // The array's type: u64 (10) becomes i64 (11).
  const std::string key("l2a.tensor_xxh3\x09\0\0\0", 19);
  CHECK(contains(failure(key + '\x0a', key + '\x0b'), "is not a list of"));
}

}  // namespace
}  // namespace l2a
