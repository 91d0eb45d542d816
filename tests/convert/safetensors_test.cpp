#include "convert/safetensors.h"

#include <doctest/doctest.h>

#include <random>

#include "convert/safetensors_writer.h"
#include "graph/error.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::TemporaryFolder;

std::string file_of(std::string_view header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  text += header;
  return text + std::string(data_bytes, '\0');
}

std::string failure(const TemporaryFolder& folder, const std::string& contents) {
  const auto path = folder.write("bad.safetensors", contents);
  return message_of<FileError>([&] { Safetensors::open_file(path); });
}

TEST_CASE("tensors that are written are read back") {
  const TemporaryFolder folder;
  const std::vector<float> floats = {1.5f, -2.0f, 3.0f, 4.0f};
  const std::vector<std::int32_t> ints = {7, 8, 9};
  const std::vector<std::uint8_t> flags = {0, 1, 1};
  SafetensorsWriter writer(folder / "a.safetensors");
  writer.add_tensor("u8", SafetensorsType::u8, std::vector<std::int64_t>{3});
  writer.add_tensor("floats", SafetensorsType::f32, std::vector<std::int64_t>{2, 2});
  writer.add_tensor("ints", SafetensorsType::i32, std::vector<std::int64_t>{3});
  writer.write_values<std::uint8_t>(flags);
  writer.write_values<float>(floats);
  writer.write_values<std::int32_t>(ints);
  writer.finish();
  CHECK(folder.entries() == 1);

  const Safetensors file = Safetensors::open_file(folder / "a.safetensors");
  CHECK(file.tensors().size() == 3);
  std::vector<float> read(3);
  read_floats(*file.find("floats"), 1, read);
  CHECK(read == std::vector<float>{-2.0f, 3.0f, 4.0f});
  CHECK(file.find("ints")->shape == std::vector<std::int64_t>{3});
  CHECK(file.find("u8")->data[1] == std::byte{1});
  CHECK(file.find("none") == nullptr);
  CHECK_THROWS_AS(read_floats(*file.find("floats"), 2, read), Error);
  CHECK_THROWS_AS(read_floats(*file.find("ints"), 0, read), Error);
}

TEST_CASE("a writer that was given too little data leaves nothing") {
  const TemporaryFolder folder;
  const std::string message = message_of<FileError>([&] {
    SafetensorsWriter writer(folder / "a.safetensors");
    writer.add_tensor("x", SafetensorsType::f32, std::vector<std::int64_t>{4});
    writer.write_values<float>(std::vector<float>{1});
    writer.finish();
  });
  CHECK(contains(message, "12 bytes of data are missing"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("malformed safetensors are refused with what is wrong") {
  const TemporaryFolder folder;
  CHECK(contains(failure(folder, "abc"), "only 3 bytes"));
  CHECK(contains(failure(folder, std::string(8, '\xff')), "past the end of the file"));
  CHECK(contains(failure(folder, file_of("{\"x\"", 0)), "not valid JSON"));
  CHECK(contains(failure(folder, file_of("[]", 0)), "object was expected"));
  const auto entry = [&](std::string_view body) {
    return failure(folder, file_of("{\"x\":" + std::string(body) + "}", 16));
  };
  CHECK(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})").empty());
  CHECK(contains(entry("3"), "not an object"));
  CHECK(contains(entry(R"({"shape":[4],"data_offsets":[0,16]})"), "'dtype': is missing"));
  CHECK(contains(entry(R"({"dtype":"Q9","shape":[4],"data_offsets":[0,16]})"),
                 "'Q9' is not a known type"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})"), "not negative"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4.5],"data_offsets":[0,16]})"), "'shape'"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]})"),
                 "overflows"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[0,12]})"), "takes 16 bytes"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})"),
                 "a begin and an end"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[16,32]})"), "past the end"));
  CHECK(contains(entry(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":{})"),
                 "occurs twice"));
  CHECK_FALSE(failure(folder, file_of(std::string(100000, '['), 0)).empty());
}

TEST_CASE("a safetensors file cut or damaged anywhere is refused or harmless") {
  const TemporaryFolder folder;
  const std::string whole =
      file_of(R"({"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 16);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK_FALSE(failure(folder, whole.substr(0, length)).empty());
  }
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    CHECK_NOTHROW(failure(folder, damaged));  // nothing but FileError comes out
  }
}

TEST_CASE("shards are read through their index, which may not leave the folder") {
  const test::CheckpointFolder model("qwen3-tiny");
  const Safetensors checkpoint = Safetensors::open_folder(model.path());
  CHECK(checkpoint.tensors().size() == 36);
  CHECK(checkpoint.files().size() == 3);

  const auto failure_with = [&](const char* file) {
    model.edit_json("model.safetensors.index.json",
                    [&](auto& json) { json["weight_map"]["lm_head.weight"] = file; });
    return message_of<FileError>([&] { Safetensors::open_folder(model.path()); });
  };
  CHECK(contains(failure_with("../x.safetensors"), "name of a file in the same folder"));
  CHECK(contains(failure_with("/etc/passwd"), "name of a file in the same folder"));
  CHECK(contains(failure_with(".."), "name of a file in the same folder"));
  CHECK(contains(failure_with(""), "name of a file in the same folder"));
  CHECK(contains(failure_with("model-00002-of-00002.safetensors"), "'lm_head.weight' is not in"));
  CHECK(contains(failure_with("model-3.safetensors"), "model-3.safetensors: is missing"));
  CHECK(contains(message_of<FileError>([] { Safetensors::open_folder("/"); }), "has neither"));
}

}  // namespace
}  // namespace l2a
