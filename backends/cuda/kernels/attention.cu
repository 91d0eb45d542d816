// Causal softmax attention over a cache, for all tokens or for routed rows: chooses a kernel.
//
//   f16 or bf16 cache, heads of 64 or 128:  up to 8 tokens   decode_attention: keys split over blocks
//                                           more             hopper_attention (wgmma) or prefill_attention
//                                                            (mma.sync): tiles of 128 rows
//   everything else                                          plain_attention: f32 arithmetic
//
// Caches of blocks are copied to f16 first, as far as they are in use (block_caches.cu).
//
// The tensor-core kernels round queries and softmax weights to the type of the cache; sums and statistics are f32.
#include "backends/cuda/kernels/attention_keys.cuh"
#include "backends/cuda/kernels/attention_parts.h"
#include "backends/cuda/kernels/kernels.h"
#include "ops/attention.h"

namespace l2a::cuda {

bool tensor_core_attention(Dtype cache, std::int64_t dim) {
  return (cache == Dtype::f16 || cache == Dtype::bf16) && (dim == 64 || dim == 128);
}

namespace {

constexpr std::int64_t kMostDims = 256;

AttentionArguments arguments_of(const CudaCall& call) {
  const AttentionOptions& options = call.attributes<Attention>().options;
  const TensorView& keys = call.inputs[Attention::kKeys];
  const Shape& query = call.inputs[Attention::kQuery].shape;
  AttentionArguments a;
  a.query = call.in<float>(Attention::kQuery);
  a.out = call.out<float>();
  a.keys = call.in<void>(Attention::kKeys);
  a.values = call.in<void>(Attention::kValues);
  a.fresh_keys = call.in<void>(Attention::kFreshKeys);
  a.fresh_values = call.in<void>(Attention::kFreshValues);
  a.positions = call.in<std::int32_t>(Attention::kPositions);
  a.wide = call.in<std::int32_t>(Attention::kWideRows);
  a.rows = call.in<std::int32_t>(Attention::kRows);
  a.tokens = static_cast<int>(query[0]);
  a.query_heads = static_cast<int>(query[1]);
  a.key_heads = static_cast<int>(keys.shape[1]);
  a.dim = static_cast<int>(query[2]);
  a.capacity = static_cast<int>(keys.shape[0]);
  a.cache_sinks = static_cast<int>(options.cache_sinks);
  a.window = static_cast<int>(std::min<std::int64_t>(options.window, INT32_MAX));
  a.sinks = static_cast<int>(std::min<std::int64_t>(options.sinks, INT32_MAX));
  a.scale = 1.0f / std::sqrt(static_cast<float>(a.dim));
  return a;
}

DecodeSplit split_of(const CudaCall& call) {
  const AttentionArguments a = arguments_of(call);
  return decode_split(a.tokens, a.query_heads, a.key_heads, a.dim, a.capacity,
                      call.device.multiprocessors);
}

bool decodes(const CudaCall& call) {
  return call.inputs[Attention::kQuery].shape[0] <= kDecodeTokens &&
         tensor_core_attention(call.inputs[Attention::kKeys].dtype, call.output.shape[2]);
}

bool on_hopper(const CudaCall& call, const AttentionArguments& a) {
  return tensor_core_attention(call.inputs[Attention::kKeys].dtype, a.dim) &&
         hopper_attention_runs(a, call.device);
}

std::size_t float_bytes(const CudaCall& call) {
  if (decodes(call)) return split_of(call).bytes;
  const AttentionArguments a = arguments_of(call);
  return on_hopper(call, a) ? hopper_attention_bytes(a, call.device) : 0;
}

bool supports(const Op& /*op*/, std::span<const ValueInfo> inputs) {
  return inputs[Attention::kQuery].shape[2] <= kMostDims;
}

void run_float(const CudaCall& call) {
  const AttentionArguments a = arguments_of(call);
  const Dtype cache = call.inputs[Attention::kKeys].dtype;
  if (decodes(call)) {
    finish_and_attend(call, {});
  } else if (on_hopper(call, a)) {
    hopper_attention(cache, a, call.workspace, call.device, call.stream);
  } else if (tensor_core_attention(cache, a.dim)) {
    prefill_attention(cache, a, call.stream);
  } else {
    plain_attention(cache, a, call.stream);
  }
}

std::size_t workspace_bytes(const CudaCall& call) {
  const BlockCaches caches(call);
  return caches.bytes() + float_bytes(caches.copied());
}

void run(const CudaCall& call) {
  const BlockCaches caches(call);
  caches.copy();
  run_float(caches.copied());
}

}  // namespace

bool finishes_and_attends(const CudaCall& call, const FinishHeads& finish) {
  return decodes(call) && decode_finishes_heads(call.inputs[Attention::kKeys].dtype, finish);
}

void finish_and_attend(const CudaCall& call, const FinishHeads& finish) {
  decode_attention(call.inputs[Attention::kKeys].dtype, arguments_of(call), finish, split_of(call),
                   call.workspace, call.counters, call.device, call.stream);
}

const CudaKernel kAttention = {Attention::kName, run, workspace_bytes, supports};

}  // namespace l2a::cuda
