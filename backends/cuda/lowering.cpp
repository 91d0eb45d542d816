#include "backends/cuda/lowering.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "backends/cuda/kernels/fused_parts.h"
#include "ops/add.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/silu_mul.h"

namespace l2a::cuda {
namespace {

constexpr std::size_t kAlign = 256;

class Lowering {
 public:
  Lowering(const Graph& graph, std::span<const NodeId> nodes,
           std::span<const NodeOperands> operands, const DeviceTraits& device, cudaStream_t stream)
      : graph_(graph), nodes_(nodes), operands_(operands), device_(device), stream_(stream) {
    readers_.resize(graph.values().size());
    for (const Node& node : graph.nodes()) {
      for (const ValueId input : node.inputs) {
        if (input != kNoValue) ++readers_[static_cast<std::size_t>(graph.root(input))];
      }
    }
    for (const Value& value : graph.values()) {
      // What the host reads has a reader that no node is.
      if (value.output) readers_[static_cast<std::size_t>(graph.root(value.info.id))] += 2;
    }
  }

  Lowered run() {
    for (std::size_t i = 0; i < nodes_.size();) {
      std::size_t taken = heads(i);
      if (taken == 0) taken = gated(i);
      if (taken == 0) taken = product(i);
      if (taken == 0) taken = norm(i);
      if (taken == 0) taken = alone(i);
      i += taken;
    }
    return std::move(lowered_);
  }

 private:
  const Node& node(std::size_t i) const { return graph_.node(nodes_[i]); }
  // The node's op, if it is a T.
  template <class T>
  const T* op(std::size_t i) const {
    return i < nodes_.size() && node(i).op->name() == T::kName
               ? static_cast<const T*>(node(i).op.get())
               : nullptr;
  }
  const TensorView& in(std::size_t i, int index) const {
    return operands_[i].inputs[static_cast<std::size_t>(index)];
  }
  ValueId in_value(std::size_t i, int index) const {
    const ValueId id = node(i).inputs[static_cast<std::size_t>(index)];
    return id == kNoValue ? id : graph_.root(id);
  }
  ValueId out_value(std::size_t i) const { return graph_.root(node(i).output); }
  // Whether node i's output is input `index` of node j and of nothing else.
  bool feeds_only(std::size_t i, std::size_t j, int index) const {
    return in_value(j, index) == out_value(i) &&
           readers_[static_cast<std::size_t>(out_value(i))] == 1;
  }
  template <class T>
  static const T* address(const TensorView& view) {
    return reinterpret_cast<const T*>(view.data);
  }

  // A product of few tokens that the matvec kernels take.
  bool few(std::size_t i) const {
    if (op<Matmul>(i) == nullptr) return false;
    const TensorView &x = in(i, Matmul::kX), &weight = in(i, Matmul::kWeight);
    if (x.shape[0] > kMatvecTokens) return false;
    const auto at = [](const TensorView& view) {
      return reinterpret_cast<std::uintptr_t>(view.data);
    };
    return dtype_info(weight.dtype).quantized ||
           ((weight.strides[0] | static_cast<std::int64_t>(at(weight)) |
             static_cast<std::int64_t>(at(x))) %
                    16 ==
                0 &&
            x.shape[1] % 8 == 0);
  }
  bool same_x(std::size_t i, std::size_t j) const {
    return in(i, Matmul::kX).data == in(j, Matmul::kX).data &&
           in_value(i, Matmul::kX) == in_value(j, Matmul::kX) &&
           in_value(i, Matmul::kRows) == in_value(j, Matmul::kRows);
  }
  // Quantized products read a copy of their activations; others read them where they are, where nothing may be
  // written meanwhile.
  bool writes_apart(std::size_t product, const TensorView& out) const {
    const TensorView &x = in(product, Matmul::kX), &weight = in(product, Matmul::kWeight);
    if (dtype_info(weight.dtype).quantized) return true;
    const std::byte* x_end = x.data + dtype_bytes(x.dtype, x.shape.elements());
    const std::byte* out_end = out.data + dtype_bytes(out.dtype, out.shape.elements());
    return x_end <= out.data || out_end <= x.data;
  }

  Columns columns_of(std::size_t i) const {
    const TensorView& x = in(i, Matmul::kX);
    return {address<float>(x), static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]),
            address<std::int32_t>(in(i, Matmul::kRows))};
  }
  Product product_of(std::size_t i, float* out) const {
    const TensorView& weight = in(i, Matmul::kWeight);
    return {weight.data, static_cast<int>(weight.shape[0]), out};
  }

  void step(std::size_t i, std::function<void(const Scratch&)> run) {
    lowered_.steps.push_back({i, std::move(run)});
  }
  void need_activations(std::int64_t tokens, std::int64_t inner) {
    lowered_.activation_bytes =
        std::max(lowered_.activation_bytes, QuantizedColumns::bytes(tokens, inner));
  }

  // The products of the same activations, which are quantized if they are not yet. With `places`,
  // each goes to its place among the heads.
  using Places = std::array<std::size_t, Matvec::kMaxProducts>;  // bytes from the start
  void matvec(std::size_t i, std::span<const Product> products, bool is_gated,
              const std::optional<Places>& places = std::nullopt) {
    Matvec call;
    call.dtype = in(i, Matmul::kWeight).dtype;
    call.columns = columns_of(i);
    call.device = device_;
    call.stream = stream_;
    call.gated = is_gated;
    call.count = static_cast<int>(products.size());
    std::copy(products.begin(), products.end(), call.products);
    const bool quantized = dtype_info(call.dtype).quantized;
    if (quantized) quantize(i);
    step(i, [=](const Scratch& scratch) {
      Matvec matvec = call;
      if (places) {
        for (std::size_t p = 0; p < places->size(); ++p)
          matvec.products[p].out = head_at(scratch, (*places)[p]);
      }
      if (!quantized) return float_matvec(matvec);
      matvec.quantized =
          QuantizedColumns::in(scratch.activations, call.columns.tokens, call.columns.inner);
      quantized_matvec(matvec);
    });
  }
  static float* head_at(const Scratch& scratch, std::size_t place) {
    return reinterpret_cast<float*>(scratch.heads + place);
  }

  void quantize(std::size_t i) {
    const Columns x = columns_of(i);
    if (quantized_ == x.x) return;
    set_quantized(x, x.x);
    need_activations(x.tokens, x.inner);
    step(i, [=, this_device = device_, stream = stream_](const Scratch& scratch) {
      quantize_columns(x, QuantizedColumns::in(scratch.activations, x.tokens, x.inner), this_device,
                       stream);
    });
  }
  // Node i may write over what the quantized copy was made of.
  void written(std::size_t i) {
    const TensorView& out = operands_[i].output;
    const auto* begin = reinterpret_cast<const std::byte*>(quantized_);
    if (begin < out.data + dtype_bytes(out.dtype, out.shape.elements()) &&
        out.data < begin + quantized_bytes_)
      quantized_ = nullptr;
  }
  void set_quantized(const Columns& x, const float* from) {
    quantized_ = from;
    quantized_bytes_ = static_cast<std::size_t>(x.tokens) * static_cast<std::size_t>(x.inner) * 4;
  }

  std::size_t alone(std::size_t i) {
    const CudaKernel* kernel = find_cuda_kernel(node(i).op->name());
    const CudaCall call{*node(i).op, operands_[i].inputs, operands_[i].output, device_, stream_};
    if (kernel->workspace_bytes != nullptr) {
      lowered_.general_bytes = std::max(lowered_.general_bytes, kernel->workspace_bytes(call));
    }
    step(i, [kernel, call](const Scratch& scratch) {
      CudaCall with_scratch{call.op,     call.inputs,     call.output,     call.device,
                            call.stream, scratch.general, scratch.counters};
      kernel->run(with_scratch);
    });
    written(i);
    return 1;
  }

  std::size_t norm(std::size_t i) {
    const auto* rms_norm = op<RmsNorm>(i);
    if (rms_norm == nullptr) return 0;
    const TensorView& x = in(i, RmsNorm::kX);
    if (x.shape.rank() != 2 || x.shape[0] > kMatvecTokens || x.shape[1] % 32 != 0 ||
        x.shape[1] > kMostNormWidth) {
      return 0;
    }
    NormQuantize call;
    call.x = {address<float>(x), static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]),
              address<std::int32_t>(in(i, RmsNorm::kRows))};
    call.weight = address<float>(in(i, RmsNorm::kWeight));
    call.eps = rms_norm->eps;
    call.out = reinterpret_cast<float*>(operands_[i].output.data);
    const bool quantizes = read_quantized(i);
    if (quantizes) need_activations(call.x.tokens, call.x.inner);
    step(i, [=, device = device_, stream = stream_](const Scratch& scratch) {
      NormQuantize with_scratch = call;
      if (quantizes) {
        with_scratch.quantized =
            QuantizedColumns::in(scratch.activations, call.x.tokens, call.x.inner);
      }
      norm_quantize(with_scratch, device, stream);
    });
    written(i);
    if (quantizes) set_quantized(call.x, call.out);
    return 1;
  }
  // Whether a quantized product of few tokens reads node i's output.
  bool read_quantized(std::size_t i) const {
    for (std::size_t j = i + 1; j < nodes_.size(); ++j) {
      if (few(j) && in_value(j, Matmul::kX) == out_value(i) &&
          in(j, Matmul::kX).data == operands_[i].output.data)
        return dtype_info(in(j, Matmul::kWeight).dtype).quantized;
    }
    return false;
  }

  std::size_t product(std::size_t i) {
    if (!few(i)) return 0;
    const TensorView* out = &operands_[i].output;
    Product one = product_of(i, nullptr);
    std::size_t taken = 1;
    if (op<Add>(i + 1) != nullptr) {
      // On either side, but not a bias.
      for (const int side : {Add::kA, Add::kB}) {
        const TensorView& other = in(i + 1, side == Add::kA ? Add::kB : Add::kA);
        if (taken == 1 && feeds_only(i, i + 1, side) && other.shape.rank() == 2 &&
            writes_apart(i, operands_[i + 1].output)) {
          one.addend = address<float>(other);
          out = &operands_[i + 1].output;
          taken = 2;
        }
      }
    }
    one.out = reinterpret_cast<float*>(out->data);
    matvec(i, {&one, 1}, false);
    written(i + taken - 1);
    return taken;
  }

  std::size_t gated(std::size_t i) {
    const std::size_t up = i + 1, gate = i, silu = i + 2;
    if (!few(gate) || !few(up) || op<SiluMul>(silu) == nullptr || !same_x(gate, up)) return 0;
    const TensorView &a = in(gate, Matmul::kWeight), &b = in(up, Matmul::kWeight);
    if (a.dtype != b.dtype || a.shape != b.shape || !feeds_only(gate, silu, SiluMul::kGate) ||
        !feeds_only(up, silu, SiluMul::kUp) || !writes_apart(gate, operands_[silu].output)) {
      return 0;
    }
    const Product products[] = {
        product_of(gate, reinterpret_cast<float*>(operands_[silu].output.data)),
        product_of(up, nullptr)};
    matvec(gate, products, true);
    written(silu);
    return 3;
  }

  // A projection to heads: matmul, then where they are there bias, head norm, rope and append.
  struct Projection {
    std::size_t matmul = 0, next = 0;  // first node after it
    std::size_t last = 0;              // whose output the chain has
    const TensorView *bias = nullptr, *norm = nullptr;
    const Rope* rope = nullptr;
    const TensorView* table = nullptr;
    float eps = 0;
  };
  std::optional<Projection> projection(std::size_t i) const {
    if (!few(i) || in_value(i, Matmul::kRows) != kNoValue) return std::nullopt;
    Projection p;
    p.matmul = p.last = i;
    if (op<Add>(i + 1) != nullptr && feeds_only(p.last, i + 1, Add::kA) &&
        in(i + 1, Add::kB).shape.rank() == 1) {
      p.bias = &in(i + 1, Add::kB);
      p.last = ++i;
    }
    if (const auto* norm = op<RmsNorm>(i + 1);
        norm != nullptr && feeds_only(p.last, i + 1, RmsNorm::kX)) {
      p.norm = &in(i + 1, RmsNorm::kWeight);
      p.eps = norm->eps;
      p.last = ++i;
    }
    if (const auto* rope = op<Rope>(i + 1);
        rope != nullptr && feeds_only(p.last, i + 1, Rope::kX)) {
      p.rope = rope;
      p.table = &in(i + 1, Rope::kTable);
      p.last = ++i;
    }
    p.next = i + 1;
    return p;
  }

  // Keys, values, both appends and, of the same activations, queries: as ops/self_attention.cpp adds them.
  std::size_t heads(std::size_t i) {
    const auto key = projection(i);
    if (!key || key->rope == nullptr) return 0;
    const auto value = projection(key->next);
    if (!value || value->rope != nullptr || value->norm != nullptr || !same_x(i, value->matmul))
      return 0;
    const std::size_t first = value->next, second = first + 1;
    const auto *append_key = op<KvAppend>(first), *append_value = op<KvAppend>(second);
    if (append_key == nullptr || append_value == nullptr ||
        !feeds_only(key->last, first, KvAppend::kX) ||
        !feeds_only(value->last, second, KvAppend::kX) ||
        append_key->sinks != append_value->sinks) {
      return 0;
    }
    auto query = projection(second + 1);
    if (query && (query->rope == nullptr || query->table->data != key->table->data ||
                  query->rope->pairing != key->rope->pairing || !same_x(i, query->matmul) ||
                  (query->norm != nullptr && key->norm != nullptr && query->eps != key->eps) ||
                  !writes_apart(i, operands_[query->last].output))) {
      query.reset();
    }

    const TensorView &cache = operands_[first].output, &x = in(i, Matmul::kX);
    FinishHeads call;
    call.tokens = static_cast<int>(x.shape[0]);
    call.key_heads = static_cast<int>(cache.shape[1]);
    call.dim = static_cast<int>(cache.shape[2]);
    if (call.dim > kMostHeadDims || operands_[second].output.shape != cache.shape) return 0;
    call.eps = key->norm != nullptr ? key->eps : query ? query->eps : 0;
    call.table = address<float>(*key->table);
    call.half = key->rope->pairing == RopePairing::half;
    call.positions = address<std::int32_t>(in(first, KvAppend::kPositions));
    call.keys = cache.data;
    call.values = operands_[second].output.data;
    call.cache = cache.dtype;
    call.capacity = static_cast<int>(cache.shape[0]);
    call.sinks = static_cast<int>(append_key->sinks);
    if (query) {
      call.query_heads = static_cast<int>(operands_[query->last].output.shape[1]);
      call.query_out = reinterpret_cast<float*>(operands_[query->last].output.data);
    }

    // Where each projection goes among the heads.
    struct Placed {
      const Projection* projection;
      HeadPart* part;
      std::size_t place = 0;
    };
    std::vector<Placed> parts = {{&*key, &call.key}, {&*value, &call.value}};
    if (query) parts.push_back({&*query, &call.query});
    std::size_t used = 0;
    for (Placed& one : parts) {
      if (one.projection->bias != nullptr) one.part->bias = address<float>(*one.projection->bias);
      if (one.projection->norm != nullptr) one.part->norm = address<float>(*one.projection->norm);
      one.place = used;
      const Shape& weight = in(one.projection->matmul, Matmul::kWeight).shape;
      const std::size_t bytes = dtype_bytes(Dtype::f32, call.tokens * weight[0]);
      used += (bytes + kAlign - 1) / kAlign * kAlign;
    }
    lowered_.head_bytes = std::max(lowered_.head_bytes, used);

    // Products of one type go together.
    std::vector<bool> done(parts.size());
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (done[p]) continue;
      const Dtype dtype = in(parts[p].projection->matmul, Matmul::kWeight).dtype;
      std::vector<Product> together;
      Places places{};
      for (std::size_t other = p; other < parts.size(); ++other) {
        const std::size_t matmul = parts[other].projection->matmul;
        if (in(matmul, Matmul::kWeight).dtype != dtype) continue;
        places[together.size()] = parts[other].place;
        together.push_back(product_of(matmul, nullptr));
        done[other] = true;
      }
      matvec(parts[p].projection->matmul, together, false, places);
    }
    const std::size_t key_place = parts[0].place, value_place = parts[1].place;
    const std::size_t query_place = query ? parts[2].place : 0;
    step(key->last, [=, device = device_, stream = stream_](const Scratch& scratch) {
      FinishHeads with_scratch = call;
      with_scratch.key.x = head_at(scratch, key_place);
      with_scratch.value.x = head_at(scratch, value_place);
      with_scratch.query.x = head_at(scratch, query_place);
      finish_heads(with_scratch, device, stream);
    });
    const std::size_t end = query ? query->next : second + 1;
    if (query) written(query->last);
    return end - i;
  }

  const Graph& graph_;
  std::span<const NodeId> nodes_;
  std::span<const NodeOperands> operands_;
  DeviceTraits device_;
  cudaStream_t stream_;
  std::vector<int> readers_;  // by root value
  std::size_t quantized_bytes_ = 0;
  const float* quantized_ = nullptr;  // what Scratch::activations was made of
  Lowered lowered_;
};

}  // namespace

Lowered lower(const Graph& graph, std::span<const NodeId> nodes,
              std::span<const NodeOperands> operands, const DeviceTraits& device,
              cudaStream_t stream) {
  return Lowering(graph, nodes, operands, device, stream).run();
}

}  // namespace l2a::cuda
