#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "examples/common/router_fit.h"
#include "graph/error.h"

namespace l2a {
namespace {

using Type = SafetensorsType;

template <class T>
constexpr Type kType = sizeof(T) == 8 ? Type::f64 : Type::f32;
template <>
constexpr Type kType<std::int64_t> = Type::i64;
template <>
constexpr Type kType<Token> = Type::i32;

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : file_(Safetensors::open_file(path)), name_(path.string()) {}

  // Exactly as many as `out` holds.
  template <class T>
  void read(const std::string& name, std::span<T> out) const {
    const SafetensorsTensor* tensor = file_.find(name);
    if (tensor == nullptr || tensor->type != kType<T> || tensor->data.size() != out.size_bytes())
      throw FileError(concat(name_, ": is not the state of this fit: its '", name,
                             "' is missing or of another size"));
    std::memcpy(out.data(), tensor->data.data(), out.size_bytes());
  }

  template <class T>
  void require_same(const std::string& name, std::span<const T> ours, const char* what) const {
    std::vector<T> theirs(ours.size());
    const SafetensorsTensor* tensor = file_.find(name);
    if (tensor != nullptr && tensor->type == kType<T> && tensor->data.size() == ours.size_bytes())
      read(name, std::span<T>(theirs));
    if (!std::ranges::equal(ours, theirs))
      throw FileError(concat(name_, ": is the state of a fit with ", what));
  }

 private:
  Safetensors file_;
  std::string name_;
};

}  // namespace

void FitState::save(const std::filesystem::path& path, std::span<const std::int64_t> settings,
                    std::span<const Token> tokens, std::int64_t contexts, const NeedScale& scale,
                    std::span<const RouterStatistics> layers) {
  SafetensorsWriter writer(path);
  const auto extent = [](std::size_t size) { return std::vector{static_cast<std::int64_t>(size)}; };
  writer.add_tensor("settings", Type::i64, extent(settings.size()));
  writer.add_tensor("tokens", Type::i32, extent(tokens.size()));
  writer.add_tensor("contexts", Type::i64, extent(1));
  writer.add_tensor("scales", Type::f64, extent(scale.log_scales.size()));
  writer.add_tensor("least", Type::f64, extent(1));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const RouterStatistics& layer = layers[i];
    std::size_t squares = 0;
    for (const std::vector<float>& block : layer.squares_) squares += block.size();
    writer.add_tensor(concat(i, ".shift"), Type::f32, extent(layer.shift_.size()));
    writer.add_tensor(concat(i, ".squares"), Type::f32, extent(squares));
    writer.add_tensor(concat(i, ".sums"), Type::f64, extent(layer.sums_.size()));
    writer.add_tensor(concat(i, ".products"), Type::f64, extent(layer.products_.size()));
    writer.add_tensor(concat(i, ".totals"), Type::f64, extent(2));
  }
  writer.write_values(settings);
  writer.write_values(tokens);
  writer.write_values(std::span<const std::int64_t>(&contexts, 1));
  writer.write_values(std::span<const double>(scale.log_scales));
  writer.write_values(std::span<const double>(&scale.least, 1));
  for (const RouterStatistics& layer : layers) {
    writer.write_values(std::span<const float>(layer.shift_));
    for (const std::vector<float>& block : layer.squares_)
      writer.write_values(std::span<const float>(block));
    writer.write_values(std::span<const double>(layer.sums_));
    writer.write_values(std::span<const double>(layer.products_));
    const std::array totals = {static_cast<double>(layer.count_), layer.target_sum_};
    writer.write_values(std::span<const double>(totals));
  }
  writer.finish();
}

std::int64_t FitState::load(const std::filesystem::path& path,
                            std::span<const std::int64_t> settings, std::span<const Token> tokens,
                            NeedScale& scale, std::span<RouterStatistics> layers) {
  const Reader reader(path);
  reader.require_same("settings", settings, "another model or other settings");
  reader.require_same("tokens", tokens, "another text");
  std::int64_t contexts = 0;
  reader.read("contexts", std::span(&contexts, 1));
  if (contexts < 0) throw FileError(concat(path.string(), ": holds a negative number of contexts"));
  scale.log_scales.resize(layers.size());
  reader.read("scales", std::span<double>(scale.log_scales));
  reader.read("least", std::span<double>(&scale.least, 1));
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!std::ranges::all_of(scale.log_scales, finite) || !finite(scale.least))
    throw FileError(concat(path.string(), ": holds scales that are no numbers"));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    RouterStatistics& layer = layers[i];
    std::size_t size = 0;
    for (const std::vector<float>& block : layer.squares_) size += block.size();
    std::vector<float> squares(size);
    std::array<double, 2> totals{};
    reader.read(concat(i, ".shift"), std::span(layer.shift_));
    reader.read(concat(i, ".squares"), std::span(squares));
    reader.read(concat(i, ".sums"), std::span(layer.sums_));
    reader.read(concat(i, ".products"), std::span(layer.products_));
    reader.read(concat(i, ".totals"), std::span<double>(totals));
    const float* from = squares.data();
    for (std::vector<float>& block : layer.squares_) {
      std::copy_n(from, block.size(), block.begin());
      from += block.size();
    }
    constexpr double kMostTokens = 9007199254740992;  // whole numbers in f64
    if (!(totals[0] >= 0 && totals[0] <= kMostTokens))
      throw FileError(concat(path.string(), ": '", i, ".totals' is no number of tokens"));
    layer.count_ = static_cast<std::int64_t>(totals[0]);
    layer.target_sum_ = totals[1];
  }
  return contexts;
}

}  // namespace l2a
