#include "models/gguf.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "graph/error.h"
#include "models/gguf_format.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::TemporaryFolder;

// Appends little-endian pieces of a GGUF file, right or wrong.
class Bytes {
 public:
  template <class T>
  Bytes& number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& u32(std::uint32_t value) { return number(value); }
  Bytes& u64(std::uint64_t value) { return number(value); }
  Bytes& type(GgufType value) { return u32(static_cast<std::uint32_t>(value)); }
  Bytes& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  Bytes& string(std::string_view text) { return u64(text.size()).raw(text); }
  Bytes& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(tensors).u64(keys);
  }
  Bytes& key(std::string_view name, GgufType value_type) { return string(name).type(value_type); }
  Bytes& tensor(std::string_view name, std::initializer_list<std::uint64_t> innermost_first,
                std::uint32_t tensor_type, std::uint64_t offset) {
    string(name).u32(static_cast<std::uint32_t>(innermost_first.size()));
    for (const std::uint64_t extent : innermost_first) {
      u64(extent);
    }
    return u32(tensor_type).u64(offset);
  }
  Bytes& pad(std::size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  Bytes& zeros(std::size_t count) {
    text_.append(count, '\0');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

constexpr std::uint32_t kF32 = 0;
constexpr std::uint32_t kQ8 = 8;

// Every value type, two tensors, and no byte after the last tensor.
std::string valid_file(std::uint32_t version = 3) {
  Bytes file;
  file.header(2, 16, version);
  file.key("general.architecture", GgufType::string).string("qwen3");
  file.key("a.u8", GgufType::u8).number(std::uint8_t{200});
  file.key("a.i8", GgufType::i8).number(std::int8_t{-3});
  file.key("a.u16", GgufType::u16).number(std::uint16_t{60000});
  file.key("a.i16", GgufType::i16).number(std::int16_t{-300});
  file.key("a.u32", GgufType::u32).u32(4000000000u);
  file.key("a.i32", GgufType::i32).number(std::int32_t{7});
  file.key("a.f32", GgufType::f32).number(1.5f);
  file.key("a.bool", GgufType::boolean).number(std::uint8_t{1});
  file.key("a.u64", GgufType::u64).u64(1ull << 40);
  file.key("a.i64", GgufType::i64).number(std::int64_t{-1});
  file.key("a.f64", GgufType::f64).number(2.5);
  file.key("b.strings", GgufType::array).type(GgufType::string).u64(2).string("x").string("yy");
  file.key("b.bools", GgufType::array).type(GgufType::boolean).u64(2).raw(std::string("\1\0", 2));
  file.key("b.nested", GgufType::array).type(GgufType::array).u64(1);
  file.type(GgufType::u8).u64(3).raw("abc");
  file.key("b.ints", GgufType::array).type(GgufType::i32).u64(2).u32(5).u32(6);
  file.tensor("one", {4, 2}, kF32, 0).tensor("two", {32}, kQ8, 32).pad();
  for (int i = 0; i < 8; ++i) {
    file.number(static_cast<float>(i));
  }
  return file.zeros(34).text();
}

std::string failure(const TemporaryFolder& folder, const std::string& contents) {
  const auto path = folder.write("bad.gguf", contents);
  std::string message = message_of<FileError>([&] { GgufFile::open(path); });
  CHECK(message.find('\n') == std::string::npos);
  if (!message.empty()) {
    CHECK(contains(message, "bad.gguf: "));
  }
  return message;
}

TEST_CASE("every metadata value type and tensor is read back, from version 2 and 3 alike") {
  const TemporaryFolder folder;
  for (const std::uint32_t version : {2u, 3u}) {
    const auto file = GgufFile::open(folder.write("good.gguf", valid_file(version)));
    CHECK(file->get_string("general.architecture") == "qwen3");
    CHECK(file->get_u64("a.u8") == 200);
    CHECK(file->get_u64("a.u16") == 60000);
    CHECK(file->get_u64("a.u32") == 4000000000u);
    CHECK(file->get_u64("a.i32") == 7);
    CHECK(file->get_u64("a.u64") == 1ull << 40);
    CHECK(file->get_f64("a.i8") == -3.0);
    CHECK(file->get_f64("a.i16") == -300.0);
    CHECK(file->get_f64("a.f32") == 1.5);
    CHECK(file->get_f64("a.f64") == 2.5);
    CHECK(file->find_bool("a.bool") == true);
    CHECK(file->get_strings("b.strings") == std::vector<std::string>{"x", "yy"});
    CHECK(*file->find_bools("b.bools") == std::vector<bool>{true, false});
    CHECK(*file->find_ints("b.ints") == std::vector<std::int64_t>{5, 6});
    CHECK_FALSE(file->has("b.nested"));
    CHECK(file->metadata().front().first == "general.architecture");
    CHECK(file->file_bytes() == valid_file().size());

    REQUIRE(file->tensors().size() == 2);
    const std::vector<std::int64_t> shape = {2, 4};
    const GgufTensor& one = file->get_tensor("one", shape);
    CHECK(one.dtype == Dtype::f32);
    float last = 0;
    std::memcpy(&last, one.data.data() + 28, sizeof last);
    CHECK(last == 7.0f);
    CHECK(file->find_tensor("two")->data.size() == 34);
    CHECK(file->find_tensor("three") == nullptr);
  }
}

TEST_CASE("a lookup that fails names the file, the key and what was expected") {
  const TemporaryFolder folder;
  const auto file = GgufFile::open(folder.write("good.gguf", valid_file()));
  const auto path = (folder / "good.gguf").string();
  CHECK(message_of<FileError>([&] { file->get_u64("a.i64"); }) ==
        path + ": key 'a.i64' is -1; an integer that is not negative was expected");
  CHECK(message_of<FileError>([&] { file->get_u64("a.bool"); }) ==
        path + ": key 'a.bool' is a boolean; an integer that is not negative was expected");
  CHECK(contains(message_of<FileError>([&] { file->get_f64("absent"); }), "'absent' is missing"));
  CHECK_FALSE(file->find_u64("absent").has_value());
  const std::vector<std::int64_t> wrong = {4, 2};
  CHECK(message_of<FileError>([&] { file->get_tensor("one", wrong); }) ==
        path + ": tensor 'one' has shape [2, 4]; [4, 2] was expected");
  CHECK(contains(message_of<FileError>([&] { file->get_tensor("none", wrong); }),
                 "'none' is missing"));
}

TEST_CASE("a file cut at any length is refused") {
  const TemporaryFolder folder;
  const std::string whole = valid_file();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK_FALSE(failure(folder, whole.substr(0, length)).empty());
  }
}

TEST_CASE("random damage is refused or harmless, never a crash") {
  const TemporaryFolder folder;
  const std::string whole = valid_file();
  std::mt19937 random(7);
  for (int i = 0; i < 4000; ++i) {
    std::string damaged = whole;
    for (std::uint32_t flips = 1 + random() % 4; flips > 0; --flips) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto path = folder.write("bad.gguf", damaged);
    try {
      const auto file = GgufFile::open(path);
      std::size_t sum = 0;
      for (const GgufTensor& tensor : file->tensors()) {
        for (const std::byte byte : tensor.data) {
          sum += static_cast<std::size_t>(byte);
        }
      }
      CHECK(sum < whole.size() * 256 * 2);
    } catch (const FileError&) {
    }
  }
}

TEST_CASE("what is not a GGUF file is called so") {
  const TemporaryFolder folder;
  CHECK(contains(failure(folder, ""), "is empty"));
  CHECK(contains(failure(folder, "PK\x03\x04 something"), "begins with 'PK\\x03\\x04'"));
  CHECK(contains(failure(folder, "FUGG" + valid_file().substr(4)), "big-endian"));
  std::string swapped = valid_file();
  swapped.replace(4, 4, std::string("\0\0\0\3", 4));
  CHECK(contains(failure(folder, swapped), "big-endian"));
  CHECK(contains(failure(folder, Bytes().header(0, 0, 1).text()), "version 1"));
  CHECK(contains(message_of<FileError>([&] { GgufFile::open(folder.path()); }), "is a directory"));
  CHECK(contains(message_of<FileError>([&] { GgufFile::open(folder / "none.gguf"); }),
                 "cannot be opened"));
}

TEST_CASE("counts and lengths beyond the file are refused before anything is reserved") {
  const TemporaryFolder folder;
  constexpr std::uint64_t kHuge = ~0ull;
  CHECK(contains(failure(folder, Bytes().header(kHuge, 0).zeros(64).text()), "tensor count"));
  CHECK(contains(failure(folder, Bytes().header(0, kHuge).zeros(64).text()), "metadata count"));
  CHECK(contains(failure(folder, Bytes().header(0, 1).u64(kHuge).zeros(64).text()),
                 "metadata key 0"));
  CHECK(contains(failure(folder, Bytes().header(0, 1).u64(65536).zeros(70000).text()),
                 "at most 65535"));
  Bytes text;
  text.header(0, 1).key("k", GgufType::string).u64(kHuge).zeros(64);
  CHECK(contains(failure(folder, text.text()), "key 'k'"));
  for (const GgufType element : {GgufType::u8, GgufType::u64, GgufType::string, GgufType::array}) {
    for (const std::uint64_t count : {kHuge, kHuge / 8 + 1, std::uint64_t{1000}}) {
      Bytes array;
      array.header(0, 1).key("k", GgufType::array).type(element).u64(count).zeros(64);
      CHECK(contains(failure(folder, array.text()), "length of key 'k'"));
    }
  }
}

TEST_CASE("malformed metadata is refused") {
  const TemporaryFolder folder;
  const auto with_key = [](auto build) {
    Bytes file;
    file.header(0, 1);
    build(file);
    return file.zeros(64).text();
  };
  CHECK(contains(failure(folder, with_key([](Bytes& b) { b.string("k").u32(13); })),
                 "value type 13"));
  CHECK(contains(failure(folder, with_key([](Bytes& b) { b.string("").u32(0); })), "is empty"));
  CHECK(contains(failure(folder, with_key([](Bytes& b) {
                           b.key("k", GgufType::boolean).number(std::uint8_t{2});
                         })),
                 "boolean 2"));
  CHECK(contains(failure(folder, with_key([](Bytes& b) {
                           b.key("k", GgufType::array).type(GgufType::boolean).u64(1).raw("\7");
                         })),
                 "boolean 7"));
  CHECK(contains(failure(folder, with_key([](Bytes& b) {
                           b.key("k", GgufType::array);
                           for (int depth = 0; depth < 40; ++depth) {
                             b.type(GgufType::array).u64(1);
                           }
                         })),
                 "nests arrays"));
  Bytes twice;
  twice.header(0, 2).key("k", GgufType::u32).u32(1).key("k", GgufType::u32).u32(2);
  CHECK(contains(failure(folder, twice.text()), "key 'k' occurs twice"));
  for (const std::uint32_t alignment : {0u, 1u, 4u, 33u, 48u, 1u << 20}) {
    Bytes file;
    file.header(0, 1).key("general.alignment", GgufType::u32).u32(alignment);
    CHECK(contains(failure(folder, file.text()), "general.alignment"));
  }
  Bytes nul;
  nul.header(0, 1).string(std::string(300, '\x1b')).u32(99).zeros(20);
  CHECK(failure(folder, nul.text()).size() < 500);
}

std::string one_tensor(std::initializer_list<std::uint64_t> shape, std::uint32_t type,
                       std::uint64_t offset, std::string_view name = "x") {
  return Bytes().header(1, 0).tensor(name, shape, type, offset).pad().zeros(256).text();
}

TEST_CASE("malformed tensors are refused, naming the tensor") {
  const TemporaryFolder folder;
  CHECK(failure(folder, one_tensor({32}, kF32, 0)).empty());
  CHECK(contains(failure(folder, one_tensor({32}, 99, 0)), "tensor 'x': has tensor type 99"));
  CHECK(contains(failure(folder, one_tensor({32}, 10, 0)), "tensor type 10"));
  CHECK(contains(failure(folder, one_tensor({}, kF32, 0)), "0 dimensions"));
  CHECK(contains(failure(folder, one_tensor({1, 1, 1, 1, 1}, kF32, 0)), "5 dimensions"));
  CHECK(contains(failure(folder, one_tensor({4, 0}, kF32, 0)), "dimension 1 is 0"));
  CHECK(contains(failure(folder, one_tensor({1ull << 63}, kF32, 0)), "overflows"));
  CHECK(contains(failure(folder, one_tensor({1ull << 32, 1ull << 32}, kF32, 0)), "overflows"));
  CHECK(contains(failure(folder, one_tensor({1ull << 62}, kF32, 0)), "overflows"));
  CHECK(contains(failure(folder, one_tensor({1ull << 61}, kF32, 0)), "overflows"));
  CHECK(contains(failure(folder, one_tensor({1ull << 40}, kF32, 0)), "past the end of the file"));
  CHECK(contains(failure(folder, one_tensor({33}, kQ8, 0)), "not whole q8_0 blocks"));
  CHECK(contains(failure(folder, one_tensor({32}, kF32, 8)), "not a multiple of the alignment 32"));
  CHECK(contains(failure(folder, one_tensor({32}, kF32, 256)), "past the end of the file"));
  CHECK(contains(failure(folder, one_tensor({32}, kF32, ~31ull)), "past the end of the file"));
  CHECK(contains(failure(folder, one_tensor({32}, kF32, 0, "")), "name of tensor 0 is empty"));
  CHECK(failure(folder, one_tensor({32}, kF32, 0, std::string(256, 'n'))).empty());
  CHECK(contains(failure(folder, one_tensor({32}, kF32, 0, std::string(257, 'n'))), "at most 256"));
  Bytes twice;
  twice.header(2, 0).tensor("x", {8}, kF32, 0).tensor("x", {8}, kF32, 32).pad().zeros(64);
  CHECK(contains(failure(folder, twice.text()), "tensor 'x' occurs twice"));
}

TEST_CASE("general.alignment moves the data") {
  const TemporaryFolder folder;
  Bytes file;
  file.header(1, 1).key("general.alignment", GgufType::u32).u32(128);
  file.tensor("x", {1}, kF32, 0).pad(128).number(42.0f);
  const auto opened = GgufFile::open(folder.write("aligned.gguf", file.text()));
  float value = 0;
  std::memcpy(&value, opened->tensors()[0].data.data(), sizeof value);
  CHECK(value == 42.0f);
}

}  // namespace
}  // namespace l2a
