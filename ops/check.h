// Small checks that several ops' `infer` share. Each throws GraphError with what was expected.
#pragma once

#include <string_view>

#include "graph/error.h"
#include "graph/op.h"

namespace l2a {

inline void require(bool condition, std::string_view expectation) {
  if (!condition) throw GraphError(std::string(expectation));
}

inline void require_f32(const ValueInfo& x, std::string_view what) {
  require(x.present() && x.dtype == Dtype::f32, concat(what, " must be f32"));
}

inline void require_rank(const ValueInfo& x, int rank, std::string_view what) {
  require(x.present() && x.shape.rank() == rank, concat(what, " must have ", rank, " extents"));
}

// `rows` is the op's last input: present exactly when `x` is compact, and then the Rows that bound
// it.
inline void require_rows_of(const ValueInfo& x, const ValueInfo& rows) {
  require(rows.id == x.rows, "a compact tensor goes with its own Rows, a full one with none");
}

}  // namespace l2a
