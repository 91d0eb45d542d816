#include "backends/cuda/attention_c.h"

#include <array>
#include <exception>
#include <string>

#include "backends/cuda/kernel.h"
#include "graph/error.h"
#include "ops/attention.h"

namespace l2a::cuda {
namespace {

constexpr std::size_t kInputs = Attention::kRows + 1, kAlign = 256;
constexpr std::size_t kCounterBytes = kCounters * sizeof(std::uint32_t);

std::string last_error;

// The operands as the kernel table's attention takes them.
class Call {
 public:
  explicit Call(const L2aCudaAttention& a) : op_({a.window, a.sinks, 0}) {
    if (a.tokens < 1 || a.capacity < 1 || a.query_heads < 1 || a.key_heads < 1 || a.dim < 1) {
      throw Error("attention needs positive sizes");
    }
    const Dtype cache = a.bf16 != 0 ? Dtype::bf16 : Dtype::f16;
    const ValueId rows = a.rows != nullptr ? static_cast<ValueId>(Attention::kRows) : kNoValue;
    set(Attention::kQuery, Dtype::f32, {a.tokens, a.query_heads, a.dim}, a.query);
    set(Attention::kKeys, cache, {a.capacity, a.key_heads, a.dim}, a.keys);
    set(Attention::kValues, cache, {a.capacity, a.key_heads, a.dim}, a.values);
    set(Attention::kPositions, Dtype::i32, {a.tokens}, a.positions);
    infos_[Attention::kQuery].rows = rows;
    if (a.rows != nullptr) {
      set(Attention::kRows, Dtype::i32, {a.tokens + 1}, a.rows);
      infos_[Attention::kRows].is_rows = true;
    }
    const OutputInfo out = op_.infer(infos_);
    kernel_ = find_cuda_kernel(Attention::kName);
    if (!kernel_->supports(op_, infos_)) throw Error("the CUDA backend has no such attention");
    output_ = {out.dtype, out.shape, contiguous_strides(out.dtype, out.shape),
               reinterpret_cast<std::byte*>(a.out)};
    int device = 0;
    cudaDeviceProp properties{};
    check(cudaGetDevice(&device), "looking for a GPU");
    check(cudaGetDeviceProperties(&properties, device), "asking the GPU what it is");
    traits_ = traits_of(properties);
  }

  std::size_t scratch_bytes() const {
    return kCounterBytes + kernel_->workspace_bytes({op_, views_, output_, traits_});
  }
  void run(void* scratch, cudaStream_t stream) const {
    auto* memory = static_cast<std::byte*>(scratch);
    kernel_->run({op_, views_, output_, traits_, stream, memory + kCounterBytes,
                  reinterpret_cast<std::uint32_t*>(memory)});
  }

 private:
  void set(int index, Dtype dtype, const Shape& shape, const void* data) {
    if (data == nullptr) throw Error("attention misses an operand");
    const auto i = static_cast<std::size_t>(index);
    views_[i] = {dtype, shape, contiguous_strides(dtype, shape),
                 static_cast<std::byte*>(const_cast<void*>(data))};
    infos_[i] = {dtype, shape, views_[i].strides, static_cast<ValueId>(index)};
  }

  Attention op_;
  std::array<TensorView, kInputs> views_;
  std::array<ValueInfo, kInputs> infos_;
  TensorView output_;
  DeviceTraits traits_;
  const CudaKernel* kernel_ = nullptr;
};
static_assert(kCounterBytes % kAlign == 0, "the workspace behind the counters is aligned");

template <class Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
    return -1;
  }
}

}  // namespace
}  // namespace l2a::cuda

extern "C" {

int l2a_cuda_attention_scratch(const L2aCudaAttention* call, int64_t* bytes) {
  return l2a::cuda::guarded(
      [&] { *bytes = static_cast<int64_t>(l2a::cuda::Call(*call).scratch_bytes()); });
}

int l2a_cuda_attention(const L2aCudaAttention* call, void* scratch, void* stream) {
  return l2a::cuda::guarded(
      [&] { l2a::cuda::Call(*call).run(scratch, static_cast<cudaStream_t>(stream)); });
}

const char* l2a_cuda_error(void) { return l2a::cuda::last_error.c_str(); }

}  // extern "C"
