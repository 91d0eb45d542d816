#include "ops/silu_mul.h"

#include <cmath>

#include "ops/check.h"

namespace l2a {

OutputInfo SiluMul::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &gate = inputs[kGate], &up = inputs[kUp];
  require_f32(gate, "the gate");
  require_f32(up, "the other side");
  require_rank(gate, 2, "the gate");
  require(gate.shape == up.shape, "the shapes differ");
  require(!gate.compact() && !up.compact(), "both sides must be full");
  return {Dtype::f32, gate.shape};
}

Cost SiluMul::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                   const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  cost.operations =
      operand_bytes(output, hints);  // exp, sum, division and product an element of four bytes
  return cost;
}

void SiluMul::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  for (std::int64_t t = 0; t < output.shape[0]; ++t) {
    const float* gate = inputs[kGate].row<const float>(t);
    const float* up = inputs[kUp].row<const float>(t);
    float* to = output.row<float>(t);
    for (std::int64_t i = 0; i < output.shape[1]; ++i)
      to[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }
}

Tensor silu_mul(GraphBuilder& graph, Tensor gate, Tensor up) {
  return graph.add(std::make_shared<SiluMul>(), {gate, up});
}

}  // namespace l2a
