// F8_E4M3 checkpoints: values as the format defines them, and the scales that quantized checkpoints put beside them.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "convert/checkpoint.h"
#include "convert/hf_config.h"
#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "convert/tensor_plan.h"
#include "graph/error.h"
#include "tests/convert/checkpoint_folder.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::CheckpointFolder;
using test::contains;
using test::message_of;
using test::TemporaryFolder;

// Straight from the format: sign, exponent with bias 7, mantissa of eighths.
double value_of(std::uint8_t code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return NAN;
  const double magnitude = exponent == 0 ? mantissa / 8.0 * std::pow(2.0, -6)
                                         : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
  return (code & 128) != 0 ? -magnitude : magnitude;
}

TEST_CASE("every code of F8_E4M3 has the value of its format") {
  const TemporaryFolder folder;
  std::vector<std::uint8_t> codes(256);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i);
  SafetensorsWriter writer(folder / "a.safetensors");
  writer.add_tensor("x", SafetensorsType::f8_e4m3, std::vector<std::int64_t>{256});
  writer.write_values<std::uint8_t>(codes);
  writer.finish();
  const Safetensors file = Safetensors::open_file(folder / "a.safetensors");
  std::vector<float> values(256);
  read_floats(*file.find("x"), 0, values);
  for (std::size_t i = 0; i < 256; ++i) {
    CAPTURE(i);
    if (i == 0x7f || i == 0xff) {
      CHECK(std::isnan(values[i]));
    } else {
      CHECK(values[i] == static_cast<float>(value_of(static_cast<std::uint8_t>(i))));
    }
  }
  CHECK(values[0x7e] == 448.0f);
  CHECK(values[0xfe] == -448.0f);
  CHECK(values[0x01] == 0x1p-9f);
  CHECK(values[0x08] == 0x1p-6f);
  CHECK(values[0x38] == 1.0f);
  CHECK(std::signbit(values[0x80]));
}

enum class Scales { none, tensor, rows, blocks };

// llama-tiny with its layers' matrices as random codes, and scales beside them. Q and K are permuted in GGUF.
class Float8Model {
 public:
  explicit Float8Model(Scales scales) : model_("llama-tiny") {
    model_.edit_json("config.json", [&](json& config) {
      if (scales == Scales::none) return;
      config["quantization_config"] = {{"quant_method", "fp8"}, {"fmt", "e4m3"}};
      if (scales == Scales::blocks) {
        config["quantization_config"]["weight_block_size"] = {kBlockRows, kBlockColumns};
      }
    });
    const Safetensors source = Safetensors::open_folder(model_.path());
    const TemporaryFolder aside;
    SafetensorsWriter writer(aside / "model.safetensors");
    std::vector<std::vector<std::byte>> data;
    std::mt19937 random(7);
    const auto add = [&](const std::string& name, SafetensorsType type,
                         const std::vector<std::int64_t>& shape, std::span<const std::byte> bytes) {
      writer.add_tensor(name, type, shape);
      data.emplace_back(bytes.begin(), bytes.end());
    };
    for (const auto& [name, tensor] : source.tensors()) {
      if (!contains(name, "_proj.weight")) {
        add(name, tensor.type, tensor.shape, tensor.data);
        continue;
      }
      const std::int64_t rows = tensor.shape[0], columns = tensor.shape[1];
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * columns));
      for (auto& code : codes) {
        do code = static_cast<std::uint8_t>(random());
        while ((code & 0x7f) == 0x7f);
      }
      add(name, SafetensorsType::f8_e4m3, tensor.shape, std::as_bytes(std::span(codes)));
      const std::int64_t block_rows = scales == Scales::blocks ? kBlockRows
                                      : scales == Scales::rows ? 1
                                                               : rows,
                         block_columns = scales == Scales::blocks ? kBlockColumns : columns;
      const std::int64_t down = (rows + block_rows - 1) / block_rows,
                         across = (columns + block_columns - 1) / block_columns;
      std::vector<float> scale(static_cast<std::size_t>(down * across), 1.0f);
      if (scales != Scales::none) {
        for (float& one : scale) one = 0.001f * static_cast<float>(1 + random() % 1000);
        add(name + (scales == Scales::blocks ? "_scale_inv" : "_scale"), SafetensorsType::f32,
            scales == Scales::tensor ? std::vector<std::int64_t>{}
                                     : std::vector<std::int64_t>{down, across},
            std::as_bytes(std::span(scale)));
      }
      std::vector<float>& expected = expected_[name];
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          const auto code = codes[static_cast<std::size_t>(row * columns + column)];
          expected.push_back(
              static_cast<float>(value_of(code)) *
              scale[static_cast<std::size_t>(row / block_rows * across + column / block_columns)]);
        }
      }
    }
    for (const auto& bytes : data) writer.write(bytes);
    writer.finish();
    std::filesystem::copy_file(aside / "model.safetensors", model_.path() / "model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
  }

  const CheckpointFolder& folder() const { return model_; }
  const std::vector<float>& expected(const std::string& name) const { return expected_.at(name); }

 private:
  // Neither divides 64 or 160.
  static constexpr std::int64_t kBlockRows = 24, kBlockColumns = 40;

  CheckpointFolder model_;
  std::map<std::string, std::vector<float>> expected_;
};

TEST_CASE("F8 weights are read with the scales of their tensor, rows or blocks, or with none") {
  for (const Scales scales : {Scales::none, Scales::tensor, Scales::rows, Scales::blocks}) {
    CAPTURE(static_cast<int>(scales));
    const Float8Model model(scales);
    const Checkpoint opened = open_hf_checkpoint(model.folder().path());
    CHECK(opened.warnings.empty());  // the scales are used
    std::map<std::string, PlannedTensor> plan;
    for (PlannedTensor& planned : plan_tensors(HfConfig::read(model.folder().path()))) {
      plan.emplace(planned.target, planned);
    }
    std::size_t seen = 0;
    for (const SourceTensor& tensor : opened.tensors) {
      if (!contains(tensor.origin, "_proj.weight")) continue;
      CAPTURE(tensor.origin);
      CHECK(tensor.stored == Dtype::bf16);
      const std::vector<float>& expected = model.expected(tensor.origin);
      const PlannedTensor& planned = plan.at(tensor.name);
      const auto columns = static_cast<std::size_t>(tensor.row_length());
      std::vector<float> rows(columns * 3);
      for (std::int64_t first = 0; first + 3 <= tensor.rows(); first += 3) {
        tensor.read(first, rows);
        std::vector<float> wanted;
        for (std::int64_t row = first; row < first + 3; ++row) {
          const std::int64_t from =
              planned.interleaved_heads > 0 ? rotated_half_row(planned, row) : row;
          const auto at = expected.begin() + from * tensor.row_length();
          wanted.insert(wanted.end(), at, at + tensor.row_length());
        }
        CHECK(rows == wanted);
      }
      ++seen;
    }
    CHECK(seen == 3 * 7);
  }
}

TEST_CASE("scales that are missing or do not fit, and other quantizations, are refused") {
  const auto failure = [](const Float8Model& model, auto edit) {
    model.folder().edit_json("config.json", edit);
    return message_of<FileError>([&] { open_hf_checkpoint(model.folder().path()); });
  };
  CHECK(contains(failure(Float8Model(Scales::none),
                         [](json& c) {
                           c["quantization_config"] = {{"quant_method", "fp8"}};
                         }),
                 "q_proj.weight' has no scale, which quantization_config asks for"));
  CHECK(contains(failure(Float8Model(Scales::blocks),
                         [](json& c) {
                           c["quantization_config"]["weight_block_size"] = {128, 128};
                         }),
                 "_scale_inv' has shape [3, 2], which does not scale a tensor of shape [64, 64]"));
  CHECK(contains(failure(Float8Model(Scales::blocks),
                         [](json& c) {
                           c["quantization_config"]["weight_block_size"] = {0, 128};
                         }),
                 "'quantization_config.weight_block_size'"));
  CHECK(contains(failure(Float8Model(Scales::blocks),
                         [](json& c) { c["quantization_config"]["fmt"] = "e5m2"; }),
                 "'e5m2' is not supported"));
  CHECK(contains(failure(Float8Model(Scales::blocks),
                         [](json& c) { c["quantization_config"]["quant_method"] = "gptq"; }),
                 "'gptq' is not supported"));
}

}  // namespace
}  // namespace l2a
