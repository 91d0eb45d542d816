// Shapes, strides and views of memory. Extents are outermost first and the innermost is contiguous.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>

#include "graph/dtype.h"

namespace l2a {

inline constexpr int kMaxRank = 4;

// Up to four extents, each at least 1. Throws GraphError on anything else, or when their product
// overflows.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  std::int64_t back() const { return extents_[static_cast<std::size_t>(rank_ - 1)]; }
  std::int64_t elements() const;
  std::span<const std::int64_t> extents() const {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }
  bool operator==(const Shape& other) const = default;
  std::string to_string() const;  // "[3, 4]"

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);
std::ostream& operator<<(std::ostream& out, Dtype dtype);

// Bytes between neighbours along each axis; the innermost is one block of the dtype.
using Strides = std::array<std::int64_t, kMaxRank>;
Strides contiguous_strides(Dtype dtype, const Shape& shape);

// Typed memory, not owned. `data` is null for an optional input that is absent.
struct TensorView {
  Dtype dtype = Dtype::f32;
  Shape shape;
  Strides strides{};
  std::byte* data = nullptr;

  explicit operator bool() const { return data != nullptr; }

  // Start of row `i` along the first axis, or of row (i, j) along the first two.
  template <class T>
  T* row(std::int64_t i) const {
    return reinterpret_cast<T*>(data + i * strides[0]);
  }
  template <class T>
  T* row(std::int64_t i, std::int64_t j) const {
    return reinterpret_cast<T*>(data + i * strides[0] + j * strides[1]);
  }
};

// Number of rows that exist in a compact tensor under `rows` (null: all of `limit`).
inline std::int64_t active_rows(const TensorView& rows, std::int64_t limit) {
  return rows ? *rows.row<const std::int32_t>(0) : limit;
}
// Token index of row `i`: the i-th of `rows`, or i itself where there is no Rows.
inline std::int64_t token_of_row(const TensorView& rows, std::int64_t i) {
  return rows ? *rows.row<const std::int32_t>(1 + i) : i;
}

}  // namespace l2a
