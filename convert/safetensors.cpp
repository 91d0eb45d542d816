#include "convert/safetensors.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "convert/json_file.h"
#include "graph/error.h"
#include "graph/half.h"
#include "models/mapped_file.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;
};
// In the order of SafetensorsType.
constexpr std::array<TypeInfo, 12> kTypes = {{{"F64", 8},
                                              {"F32", 4},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"I64", 8},
                                              {"I32", 4},
                                              {"I16", 2},
                                              {"I8", 1},
                                              {"U8", 1},
                                              {"BOOL", 1},
                                              {"F8_E4M3", 1},
                                              {"F8_E5M2", 1}}};

std::optional<SafetensorsType> type_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) {
      return static_cast<SafetensorsType>(i);
    }
  }
  return std::nullopt;
}

// One entry of the header, checked against the `data` that follows the header.
SafetensorsTensor read_entry(const std::string& origin, const std::string& name, const Json& entry,
                             std::span<const std::byte> data) {
  const std::string what = concat(origin, ": tensor ", quote(name));
  if (!entry.is_object()) {
    throw FileError(concat(what, ": its entry is not an object"));
  }
  const JsonFields fields(entry, what);
  SafetensorsTensor tensor;
  tensor.name = name;
  const std::string type = fields.string("dtype");
  const auto known = type_from_name(type);
  if (!known) {
    fields.fail("dtype", concat(quote(type), " is not a known type"));
  }
  tensor.type = *known;

  const auto list = [&](const std::string& field) {
    const Json& values = fields.get(field);
    if (!values.is_array()) {
      fields.fail(field, "a list of integers was expected");
    }
    std::vector<std::int64_t> integers;
    for (const Json& value : values) {
      constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kLargest) {
        fields.fail(field, "integers that are not negative were expected");
      }
      integers.push_back(value.get<std::int64_t>());
    }
    return integers;
  };
  tensor.shape = list("shape");
  auto bytes = static_cast<std::int64_t>(safetensors_type_bytes(tensor.type));
  for (const std::int64_t extent : tensor.shape) {
    if (extent != 0 && bytes > std::numeric_limits<std::int64_t>::max() / extent) {
      throw FileError(concat(what, ": the size of shape ", shape_text(tensor.shape), " overflows"));
    }
    bytes *= extent;
  }
  const std::vector<std::int64_t> offsets = list("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fields.fail("data_offsets", "a begin and an end were expected");
  }
  if (static_cast<std::uint64_t>(offsets[1]) > data.size()) {
    fields.fail("data_offsets", concat("end ", offsets[1], " is past the end of the file (",
                                       data.size(), " bytes of data)"));
  }
  if (offsets[1] - offsets[0] != bytes) {
    throw FileError(concat(what, ": shape ", shape_text(tensor.shape), " of ", type, " takes ",
                           bytes, " bytes, but data_offsets span ", offsets[1] - offsets[0]));
  }
  tensor.data = data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(bytes));
  return tensor;
}

// The 256 values of F8_E4M3: a sign, four bits of exponent with bias 7, three of mantissa. There is no infinity, and
// all ones is NaN, so that the largest value is 448. Format: arXiv 2209.05433.
float f8_e4m3_to_float(std::uint8_t bits) {
  static const std::array<float, 256> kValues = [] {
    std::array<float, 256> values{};
    for (int code = 0; code < 128; ++code) {
      const int exponent = code >> 3, mantissa = code & 7;
      const float magnitude = code == 0x7f ? std::numeric_limits<float>::quiet_NaN()
                              : exponent == 0
                                  ? std::ldexp(static_cast<float>(mantissa), -9)
                                  : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
      values[static_cast<std::size_t>(code)] = magnitude;
      values[static_cast<std::size_t>(code) + 128] = -magnitude;
    }
    return values;
  }();
  return kValues[bits];
}

template <class Stored, class Convert>
void convert_values(const std::byte* from, std::span<float> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, from + i * sizeof value, sizeof value);
    out[i] = convert(value);
  }
}

}  // namespace

std::string_view safetensors_type_name(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::size_t safetensors_type_bytes(SafetensorsType type) {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}

Safetensors Safetensors::open_file(const std::filesystem::path& path) {
  Safetensors opened;
  opened.files_.push_back(path);
  opened.mappings_.push_back(MappedFile::open(path));
  const auto bytes = opened.mappings_.back()->bytes();
  const std::string origin = path.string();
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    throw FileError(
        concat(origin, ": is not a safetensors file: it has only ", bytes.size(), " bytes"));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const auto rest = bytes.subspan(sizeof header_bytes);
  if (header_bytes > rest.size() || header_bytes > kMaxHeaderBytes) {
    throw FileError(concat(origin, ": the header length ", header_bytes,
                           " is past the end of the file (", bytes.size(),
                           " bytes) or the limit of ", kMaxHeaderBytes));
  }
  const auto header_size = static_cast<std::size_t>(header_bytes);
  const Json header =
      parse_json_object({reinterpret_cast<const char*>(rest.data()), header_size}, origin);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      opened.tensors_.emplace(name, read_entry(origin, name, entry, rest.subspan(header_size)));
    }
  }
  return opened;
}

Safetensors Safetensors::open_index(const std::filesystem::path& index) {
  const Json parsed = read_json_object(index);
  const JsonFields fields(parsed, index.string());
  const Json& map = fields.get("weight_map");
  if (!map.is_object()) {
    fields.fail("weight_map", "an object was expected");
  }
  Safetensors opened;
  std::map<std::string, Safetensors> shards;
  for (const auto& [tensor, file] : map.items()) {
    // A plain name: an index must not reach outside its folder.
    if (!file.is_string() || file.get_ref<const std::string&>().empty() ||
        std::filesystem::path(file.get<std::string>()).filename() != file.get<std::string>() ||
        file == "." || file == "..") {
      fields.fail("weight_map." + tensor, "the name of a file in the same folder was expected");
    }
    const auto name = file.get<std::string>();
    auto shard = shards.find(name);
    if (shard == shards.end()) {
      const std::filesystem::path path = index.parent_path() / name;
      if (!std::filesystem::exists(path)) {
        throw FileError(
            concat(path.string(), ": is missing; ", index.filename().string(), " names it"));
      }
      shard = shards.emplace(name, open_file(path)).first;
      opened.files_.push_back(path);
      opened.mappings_.push_back(shard->second.mappings_.front());
    }
    const SafetensorsTensor* found = shard->second.find(tensor);
    if (found == nullptr) {
      throw FileError(
          concat(index.string(), ": tensor ", quote(tensor), " is not in ", quote(name)));
    }
    opened.tensors_.emplace(tensor, *found);
  }
  opened.files_.push_back(index);
  return opened;
}

Safetensors Safetensors::open_folder(const std::filesystem::path& folder) {
  if (const auto single = folder / "model.safetensors"; std::filesystem::exists(single)) {
    return open_file(single);
  }
  if (const auto index = folder / "model.safetensors.index.json"; std::filesystem::exists(index)) {
    return open_index(index);
  }
  throw FileError(
      concat(folder.string(), ": has neither model.safetensors nor model.safetensors.index.json"));
}

const SafetensorsTensor* Safetensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found != tensors_.end() ? &found->second : nullptr;
}

void read_floats(const SafetensorsTensor& tensor, std::int64_t first, std::span<float> out) {
  const std::size_t width = safetensors_type_bytes(tensor.type);
  const std::size_t count = tensor.data.size() / width;
  if (first < 0 || static_cast<std::size_t>(first) > count ||
      out.size() > count - static_cast<std::size_t>(first)) {
    throw Error(concat("tensor ", quote(tensor.name), ": values past the end"));
  }
  const std::byte* from = tensor.data.data() + static_cast<std::size_t>(first) * width;
  switch (tensor.type) {
    case SafetensorsType::f64:
      convert_values<double>(from, out, [](double value) { return static_cast<float>(value); });
      return;
    case SafetensorsType::f32:
      convert_values<float>(from, out, [](float value) { return value; });
      return;
    case SafetensorsType::f16:
      convert_values<std::uint16_t>(from, out, f16_to_float);
      return;
    case SafetensorsType::bf16:
      convert_values<std::uint16_t>(from, out, bf16_to_float);
      return;
    case SafetensorsType::f8_e4m3:
      convert_values<std::uint8_t>(from, out, f8_e4m3_to_float);
      return;
    default:
      throw Error(concat("tensor ", quote(tensor.name), ": ", safetensors_type_name(tensor.type),
                         " values cannot be read as floats"));
  }
}

}  // namespace l2a
