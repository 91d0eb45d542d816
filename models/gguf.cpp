// Reading the file; the lookups are in gguf_lookup.cpp.
#include "models/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "graph/error.h"
#include "models/gguf_format.h"
#include "models/mapped_file.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr std::uint64_t kMaxKeyBytes = 65535;  // the specification's limit
constexpr std::uint64_t kMaxTensorNameBytes =
    256;  // the specification says 64; some writers go past it
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr int kMaxArrayDepth = 4;
constexpr std::uint64_t kMinAlignment = 8;
constexpr std::uint64_t kMaxAlignment = 65536;
// The fewest bytes that an entry can take, to check a count before anything is reserved for it.
constexpr std::uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;  // key length, key, type, value
constexpr std::uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // name, dims, one dim, type, offset

// Bytes of a value, or the fewest that it takes where that varies.
std::uint64_t min_value_bytes(GgufType type) {
  constexpr std::array<std::uint64_t, kGgufTypeCount> kBytes = {1, 1, 2,  2, 4, 4, 4,
                                                                1, 8, 12, 8, 8, 8};
  return kBytes[static_cast<std::size_t>(type)];
}

// Positions of `items` sorted by the name that `name_of` gives; the first repeated name is
// reported.
template <class Item, class NameOf, class Repeated>
std::vector<std::size_t> order_by_name(const std::vector<Item>& items, NameOf name_of,
                                       Repeated repeated) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return name_of(items[a]) < name_of(items[b]); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (name_of(items[order[i]]) == name_of(items[order[i - 1]])) {
      repeated(name_of(items[order[i]]));
    }
  }
  return order;
}

class Parser {
 public:
  Parser(const std::filesystem::path& path, std::span<const std::byte> bytes)
      : path_(path), bytes_(bytes) {}

  void parse(std::vector<std::pair<std::string, GgufValue>>& metadata,
             std::vector<std::span<const std::byte>>& encoded, std::vector<GgufTensor>& tensors) {
    read_header();
    metadata.reserve(static_cast<std::size_t>(metadata_count_));
    for (std::uint64_t i = 0; i < metadata_count_; ++i) {
      const std::size_t value_start = read_metadata(i, metadata);
      if (encoded.size() < metadata.size()) {
        encoded.push_back(bytes_.subspan(value_start, position_ - value_start));
      }
    }
    tensors.reserve(static_cast<std::size_t>(tensor_count_));
    std::vector<std::uint64_t> offsets;
    offsets.reserve(static_cast<std::size_t>(tensor_count_));
    for (std::uint64_t i = 0; i < tensor_count_; ++i) {
      tensors.push_back(read_tensor(i));
      offsets.push_back(
          number<std::uint64_t>(concat("the offset of tensor ", quote(tensors[i].name))));
    }
    // No overflow: the position is at most the size of a mapped file.
    const std::uint64_t data_start = align_up(position_, alignment_);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      place(tensors[i], data_start, offsets[i]);
    }
  }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw FileError(concat(path_.string(), ": ", parts...));
  }

 private:
  std::uint64_t remaining() const { return bytes_.size() - position_; }

  // Moves past `count` bytes of `what`, which must be there.
  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > remaining()) {
      fail(what, " takes ", count, " bytes at byte ", position_, ", but the file ends after ",
           remaining(), " (it has ", bytes_.size(), " bytes)");
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += static_cast<std::size_t>(count);
    return taken;
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  void check_count(std::uint64_t count, std::uint64_t min_bytes, std::string_view what) const {
    if (count > remaining() / min_bytes) {
      fail(what, " is ", count, ", more than the ", remaining(), " bytes that remain can hold");
    }
  }

  std::string string(std::uint64_t limit, std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    if (length > limit) {
      fail(what, " is ", length, " bytes long; at most ", limit, " are allowed");
    }
    const auto text = take(length, what);
    return std::string(reinterpret_cast<const char*>(text.data()), text.size());
  }

  bool boolean(std::string_view what) {
    const auto value = number<std::uint8_t>(what);
    if (value > 1) {
      fail(what, " is the boolean ", int{value}, "; 0 or 1 was expected");
    }
    return value != 0;
  }

  GgufType value_type(std::string_view what) {
    const auto type = number<std::uint32_t>(what);
    if (type >= kGgufTypeCount) {
      fail(what, " has the unknown value type ", type, "; 0 to ", kGgufTypeCount - 1,
           " was expected");
    }
    return static_cast<GgufType>(type);
  }

  void read_header() {
    if (bytes_.empty()) {
      fail("is empty; a GGUF file was expected");
    }
    const auto magic = take(std::min<std::uint64_t>(4, remaining()), "the magic");
    const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
    if (text != kGgufMagic) {
      fail("is not a GGUF file: it begins with ", quote(text), ", not 'GGUF'",
           text == "FUGG" ? " (big-endian files are not supported)" : "");
    }
    const auto version = number<std::uint32_t>("the version");
    if (version != 0 && (version & 0xffffu) == 0) {
      fail("is a big-endian GGUF file; only little-endian files are supported");
    }
    if (version != 2 && version != kGgufVersion) {
      fail("is GGUF version ", version, "; versions 2 and 3 are supported");
    }
    tensor_count_ = number<std::uint64_t>("the tensor count");
    metadata_count_ = number<std::uint64_t>("the metadata count");
    check_count(metadata_count_, kMinMetadataBytes, "the metadata count");
    check_count(tensor_count_, kMinTensorBytes, "the tensor count");
  }

  // Returns where the value, its type first, starts in the file.
  std::size_t read_metadata(std::uint64_t index,
                            std::vector<std::pair<std::string, GgufValue>>& metadata) {
    std::string key = string(kMaxKeyBytes, concat("metadata key ", index));
    if (key.empty()) {
      fail("metadata key ", index, " is empty");
    }
    const std::string what = concat("key ", quote(key));
    const std::size_t value_start = position_;
    const GgufType type = value_type(what);
    if (type != GgufType::array) {
      GgufValue value = scalar(type, what);
      if (key == kGgufAlignmentKey) {
        set_alignment(value);
      }
      metadata.emplace_back(std::move(key), std::move(value));
      return value_start;
    }
    const GgufType element = value_type(what);
    const auto count = number<std::uint64_t>(what);
    check_count(count, min_value_bytes(element), concat("the length of ", what));
    if (element == GgufType::array) {
      skip_arrays(count, 2, what);
    } else {
      metadata.emplace_back(std::move(key), array(element, static_cast<std::size_t>(count), what));
    }
    return value_start;
  }

  GgufValue scalar(GgufType type, std::string_view what) {
    switch (type) {
      case GgufType::u8:
        return std::uint64_t{number<std::uint8_t>(what)};
      case GgufType::u16:
        return std::uint64_t{number<std::uint16_t>(what)};
      case GgufType::u32:
        return std::uint64_t{number<std::uint32_t>(what)};
      case GgufType::u64:
        return number<std::uint64_t>(what);
      case GgufType::i8:
        return std::int64_t{number<std::int8_t>(what)};
      case GgufType::i16:
        return std::int64_t{number<std::int16_t>(what)};
      case GgufType::i32:
        return std::int64_t{number<std::int32_t>(what)};
      case GgufType::i64:
        return number<std::int64_t>(what);
      case GgufType::f32:
        return double{number<float>(what)};
      case GgufType::f64:
        return number<double>(what);
      case GgufType::boolean:
        return boolean(what);
      case GgufType::string:
        return string(kNoLimit, what);
      case GgufType::array:
        break;
    }
    fail(what, " is an array where a single value was expected");
  }

  template <class Held, class Stored>
  std::vector<Held> numbers(std::size_t count, std::string_view what) {
    const auto bytes = take(count * sizeof(Stored), what);  // no overflow: the count was checked
    std::vector<Held> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      Stored value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      values[i] = Held{value};
    }
    return values;
  }

  GgufValue array(GgufType element, std::size_t count, std::string_view what) {
    switch (element) {
      case GgufType::u8:
        return numbers<std::uint64_t, std::uint8_t>(count, what);
      case GgufType::u16:
        return numbers<std::uint64_t, std::uint16_t>(count, what);
      case GgufType::u32:
        return numbers<std::uint64_t, std::uint32_t>(count, what);
      case GgufType::u64:
        return numbers<std::uint64_t, std::uint64_t>(count, what);
      case GgufType::i8:
        return numbers<std::int64_t, std::int8_t>(count, what);
      case GgufType::i16:
        return numbers<std::int64_t, std::int16_t>(count, what);
      case GgufType::i32:
        return numbers<std::int64_t, std::int32_t>(count, what);
      case GgufType::i64:
        return numbers<std::int64_t, std::int64_t>(count, what);
      case GgufType::f32:
        return numbers<double, float>(count, what);
      case GgufType::f64:
        return numbers<double, double>(count, what);
      case GgufType::boolean: {
        std::vector<bool> values;
        values.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
          values.push_back(boolean(what));
        }
        return values;
      }
      case GgufType::string: {
        std::vector<std::string> values;
        values.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
          values.push_back(string(kNoLimit, what));
        }
        return values;
      }
      case GgufType::array:
        break;
    }
    fail(what, " is an array of arrays where an array of values was expected");
  }

  // Checks and passes over `count` arrays whose own depth is `depth`.
  void skip_arrays(std::uint64_t count, int depth, std::string_view what) {
    if (depth > kMaxArrayDepth) {
      fail(what, " nests arrays more than ", kMaxArrayDepth, " deep");
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const GgufType element = value_type(what);
      const auto length = number<std::uint64_t>(what);
      check_count(length, min_value_bytes(element), concat("the length of an array in ", what));
      if (element == GgufType::array) {
        skip_arrays(length, depth + 1, what);
      } else if (element == GgufType::string) {
        for (std::uint64_t j = 0; j < length; ++j) {
          take(number<std::uint64_t>(what), what);
        }
      } else {
        take(length * min_value_bytes(element), what);
      }
    }
  }

  void set_alignment(const GgufValue& value) {
    const auto* alignment = std::get_if<std::uint64_t>(&value);
    if (alignment == nullptr || !std::has_single_bit(*alignment) || *alignment < kMinAlignment ||
        *alignment > kMaxAlignment) {
      fail("key '", kGgufAlignmentKey, "' must be a power of two from ", kMinAlignment, " to ",
           kMaxAlignment, alignment == nullptr ? std::string() : concat(", not ", *alignment));
    }
    alignment_ = *alignment;
  }

  // All of a tensor's entry but its offset.
  GgufTensor read_tensor(std::uint64_t index) {
    GgufTensor tensor;
    tensor.name = string(kMaxTensorNameBytes, concat("the name of tensor ", index));
    if (tensor.name.empty()) {
      fail("the name of tensor ", index, " is empty");
    }
    const std::string what = concat("tensor ", quote(tensor.name));
    const auto dimensions = number<std::uint32_t>(what);
    if (dimensions < 1 || dimensions > kGgufMaxDimensions) {
      fail(what, ": has ", dimensions, " dimensions; 1 to ", kGgufMaxDimensions, " were expected");
    }
    tensor.shape.resize(dimensions);
    std::int64_t elements = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto extent = number<std::uint64_t>(what);
      constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
      if (extent == 0 || extent > kLargest / static_cast<std::uint64_t>(elements)) {
        fail(what, ": dimension ", d, " is ", extent,
             extent == 0 ? "; a positive extent was expected"
                         : "; the number of elements overflows");
      }
      elements *= static_cast<std::int64_t>(extent);
      tensor.shape[dimensions - 1 - d] = static_cast<std::int64_t>(extent);
    }
    const auto type = number<std::uint32_t>(what);
    const auto dtype = dtype_from_gguf(type);
    if (!dtype) {
      fail(what, ": has tensor type ", type, ", which is not supported");
    }
    tensor.dtype = *dtype;
    const DtypeInfo& info = dtype_info(*dtype);
    if (tensor.shape.back() % info.block_elements != 0) {
      fail(what, ": its rows of ", tensor.shape.back(), " values are not whole ", info.name,
           " blocks of ", info.block_elements);
    }
    if (elements / info.block_elements >
        std::numeric_limits<std::int64_t>::max() / info.block_bytes) {
      fail(what, ": the size of ", elements, " ", info.name, " values overflows");
    }
    return tensor;
  }

  void place(GgufTensor& tensor, std::uint64_t data_start, std::uint64_t offset) const {
    const std::string what = concat("tensor ", quote(tensor.name));
    const std::int64_t elements = std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                                  std::int64_t{1}, std::multiplies<>());
    const std::uint64_t size = dtype_bytes(tensor.dtype, elements);
    if (offset % alignment_ != 0) {
      fail(what, ": offset ", offset, " is not a multiple of the alignment ", alignment_);
    }
    const std::uint64_t available = data_start < bytes_.size() ? bytes_.size() - data_start : 0;
    if (offset > available || size > available - offset) {
      fail(what, ": offset ", offset, " + ", size, " bytes of data, which starts at byte ",
           data_start, ", is past the end of the file (", bytes_.size(), " bytes)");
    }
    tensor.data = bytes_.subspan(static_cast<std::size_t>(data_start + offset),
                                 static_cast<std::size_t>(size));
  }

  const std::filesystem::path& path_;
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t metadata_count_ = 0;
  std::uint64_t alignment_ = kGgufDefaultAlignment;
};

}  // namespace

std::shared_ptr<const GgufFile> GgufFile::open(const std::filesystem::path& path) {
  std::shared_ptr<GgufFile> file(new GgufFile);
  file->path_ = path;
  file->file_ = MappedFile::open(path);
  Parser parser(path, file->file_->bytes());
  parser.parse(file->metadata_, file->encoded_, file->tensors_);
  file->metadata_order_ = order_by_name(
      file->metadata_, [](const auto& entry) -> std::string_view { return entry.first; },
      [&](std::string_view key) { parser.fail("key ", quote(key), " occurs twice"); });
  file->tensor_order_ = order_by_name(
      file->tensors_, [](const GgufTensor& tensor) -> std::string_view { return tensor.name; },
      [&](std::string_view name) { parser.fail("tensor ", quote(name), " occurs twice"); });
  return file;
}

}  // namespace l2a
