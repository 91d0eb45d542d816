#include "convert/gguf_writer.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <string>

#include "graph/error.h"
#include "models/gguf.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::TemporaryFolder;

const std::vector<std::int64_t> kShape = {2, 3};
const std::vector<float> kValues = {1, 2, 3, 4, 5, 6};

TEST_CASE("what is written is read back: values, shapes, data and hashes") {
  const TemporaryFolder folder;
  GgufMetadata metadata;
  metadata.set_u32("u32", 7);
  metadata.set_i32("i32", -7);
  metadata.set_u64("u64", 1ull << 50);
  metadata.set_f32("f32", 0.5f);
  metadata.set_bool("bool", true);
  metadata.set_string("string", "text");
  metadata.set_array("i32s", std::span<const std::int32_t>(std::vector<std::int32_t>{-1, 2}));
  metadata.set_array("f32s", std::span<const float>(kValues));
  metadata.set_array("bools", std::vector<bool>{true, false, true});
  metadata.set_array("strings", std::span<const std::string>(std::vector<std::string>{"a", ""}));
  GgufWriter writer(folder / "a.gguf", std::move(metadata));
  writer.add_tensor("first", Dtype::f32, kShape);
  writer.add_tensor("second", Dtype::f32, std::vector<std::int64_t>{3});
  CHECK(writer.data_bytes() == 36);
  const auto bytes = std::as_bytes(std::span(kValues));
  writer.write(bytes.first(5));  // in pieces that respect no boundary
  writer.write(bytes.subspan(5));
  writer.write(bytes.first(12));
  writer.finish();
  CHECK(folder.entries() == 1);

  const auto file = GgufFile::open(folder / "a.gguf");
  CHECK(file->file_bytes() == writer.file_bytes());
  CHECK(file->get_u64("u32") == 7);
  CHECK(file->get_f64("i32") == -7);
  CHECK(file->get_u64("u64") == 1ull << 50);
  CHECK(file->get_f64("f32") == 0.5);
  CHECK(file->find_bool("bool") == true);
  CHECK(file->get_string("string") == "text");
  CHECK(*file->find_ints("i32s") == std::vector<std::int64_t>{-1, 2});
  CHECK(*file->find_floats("f32s") == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(*file->find_bools("bools") == std::vector<bool>{true, false, true});
  CHECK(file->get_strings("strings") == std::vector<std::string>{"a", ""});
  const GgufTensor& first = file->get_tensor("first", kShape);
  CHECK(std::equal(first.data.begin(), first.data.end(), bytes.begin(), bytes.end()));

  const auto* hashes = std::get_if<std::vector<std::uint64_t>>(file->value("l2a.tensor_xxh3"));
  REQUIRE(hashes != nullptr);
  REQUIRE(hashes->size() == 2);
  CHECK((*hashes)[0] == XXH3_64bits(kValues.data(), 24));
  CHECK((*hashes)[1] == XXH3_64bits(kValues.data(), 12));
}

TEST_CASE("a file without tensors, or with metadata only, is valid") {
  const TemporaryFolder folder;
  GgufWriter writer(folder / "a.gguf", {});
  writer.finish();
  CHECK(GgufFile::open(folder / "a.gguf")->tensors().empty());
}

TEST_CASE("too little or too much data, and names used twice, are refused and leave nothing") {
  const TemporaryFolder folder;
  const auto bytes = std::as_bytes(std::span(kValues));
  const auto failure = [&](auto body) {
    return message_of<FileError>([&] {
      GgufWriter writer(folder / "a.gguf", {});
      writer.add_tensor("x", Dtype::f32, kShape);
      body(writer);
    });
  };
  CHECK(contains(failure([&](GgufWriter& writer) {
                   writer.write(bytes.first(20));
                   writer.finish();
                 }),
                 "tensor 'x' is incomplete"));
  CHECK(contains(failure([&](GgufWriter& writer) {
                   writer.write(bytes);
                   writer.write(bytes.first(1));
                 }),
                 "more data"));
  CHECK(contains(failure([&](GgufWriter& writer) { writer.add_tensor("x", Dtype::f32, kShape); }),
                 "tensor 'x' is declared twice"));
  CHECK(contains(failure([&](GgufWriter& writer) { writer.add_tensor("y", Dtype::q8_0, kShape); }),
                 "[2, 3] cannot be stored as q8_0"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("metadata is copied exactly from a file, and keys can be replaced, renamed and dropped") {
  const TemporaryFolder folder;
  GgufMetadata metadata;
  metadata.set_u32("qwen3.a", 1);
  metadata.set_string("name", "text");
  metadata.set_u64("qwen3.wide", 3);  // kept as u64, though it would fit a u32
  metadata.set_u32("dropped", 9);
  GgufWriter first(folder / "a.gguf", metadata);
  first.finish();
  GgufMetadata copy(*GgufFile::open(folder / "a.gguf"));
  copy.erase("l2a.tensor_xxh3");
  CHECK(copy.encode() == metadata.encode());
  copy.set_string("qwen3.a", "other");
  copy.rename_prefix("qwen3.", "l2a-qwen3.");
  copy.erase("dropped");
  GgufWriter second(folder / "b.gguf", copy);
  second.finish();
  const auto file = GgufFile::open(folder / "b.gguf");
  CHECK(file->get_string("l2a-qwen3.a") == "other");
  CHECK(file->get_u64("l2a-qwen3.wide") == 3);
  CHECK(file->metadata()[0].first == "l2a-qwen3.a");
  CHECK_FALSE(file->has("dropped"));
  CHECK_FALSE(file->has("qwen3.a"));
}

}  // namespace
}  // namespace l2a
