// What every op tells the graph about itself. An op is a small immutable object: its type is its
// meaning, its members are its attributes. One file an op, in ops/; its gradient will live beside
// its meaning.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "graph/tensor.h"

namespace l2a {

using ValueId = std::int32_t;
inline constexpr ValueId kNoValue = -1;

// What an op may know of an input when a graph is built.
struct ValueInfo {
  Dtype dtype = Dtype::f32;
  Shape shape;
  Strides strides{};
  ValueId id = kNoValue;    // kNoValue: an optional input that is absent
  ValueId rows = kNoValue;  // the Rows value whose count bounds the leading extent, if compact
  bool is_rows = false;     // the value is itself a Rows

  bool present() const { return id != kNoValue; }
  bool compact() const { return rows != kNoValue; }
};

struct OutputInfo {
  Dtype dtype = Dtype::f32;
  Shape shape;
  ValueId rows = kNoValue;
  bool is_rows = false;
};

// How an output's memory relates to an input's.
struct Aliasing {
  enum class Kind : std::uint8_t {
    none,      // the output has its own memory
    in_place,  // it may take over input `input`, if that is not needed afterwards
    mutates,   // it is input `input`, changed: caches
  };
  Kind kind = Kind::none;
  int input = 0;
};

// What the shapes alone do not say when a cost is counted.
struct CostHints {
  std::int64_t context = 0;   // positions in the caches after the run
  double routed_share = 1.0;  // of compact rows
};

struct Cost {
  double operations = 0;  // a multiply-add is two
  double bytes = 0;       // read and written, each operand once

  Cost& operator+=(const Cost& other) {
    operations += other.operations;
    bytes += other.bytes;
    return *this;
  }
};

class Op {
 public:
  Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  virtual ~Op() = default;

  // Name by which backends find their kernel; a constant of the type.
  virtual std::string_view name() const = 0;

  // Checks the inputs and gives the output. Throws GraphError saying what is wrong; the builder
  // adds the op's name and its inputs.
  virtual OutputInfo infer(std::span<const ValueInfo> inputs) const = 0;

  virtual Aliasing aliasing() const { return {}; }

  // An upper bound for full rows, scaled by the hints. The default counts each operand's bytes
  // once.
  virtual Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                    const CostHints& hints) const;

  // The meaning of the op in plain code: what every backend's kernel is compared with. Inputs that
  // are absent have null data.
  virtual void reference(std::span<const TensorView> inputs, const TensorView& output) const = 0;
};

// Bytes of a whole operand, times the routed share when it is compact.
double operand_bytes(const ValueInfo& value, const CostHints& hints);
double operand_bytes(const OutputInfo& value, const CostHints& hints);

}  // namespace l2a
