// The kernels that attention chooses from (attention.cu says when which).
#pragma once

#include <vector>

#include "backends/cuda/kernels/fused_parts.h"

namespace l2a::cuda {

struct AttentionArguments;

// Any head size up to 256, caches of any float type, all in f32.
void plain_attention(Dtype cache, const AttentionArguments& arguments, cudaStream_t stream);

// A call of attention as the kernels below take it: caches of blocks become f16 copies at the start of the workspace.
class BlockCaches {
 public:
  explicit BlockCaches(const CudaCall& call);  // must outlive this
  std::size_t bytes() const { return bytes_; }
  CudaCall copied() const;
  // Writes what of the copies is read: positions up to the last, or nothing where no token asks.
  void copy() const;

 private:
  const CudaCall& call_;
  std::vector<TensorView> inputs_;
  std::size_t bytes_ = 0;
};

// f16 and bf16 caches, heads of 64 or 128, on the tensor cores.
bool tensor_core_attention(Dtype cache, std::int64_t dim);

constexpr int kDecodeTokens = 8;  // up to which keys are split
struct DecodeSplit {
  int splits = 1;         // blocks that share the keys of a head
  int row_tiles = 1;      // of 16 (token, query head) pairs of one key head
  std::size_t bytes = 0;  // workspace
};
DecodeSplit decode_split(int tokens, int query_heads, int key_heads, int dim, int capacity,
                         int multiprocessors);
// With the heads of a single token still to finish, if decode_finishes_heads(); none if `finish` has no tokens.
void decode_attention(Dtype cache, const AttentionArguments& arguments, const FinishHeads& finish,
                      const DecodeSplit& split, std::byte* workspace, std::uint32_t* counters,
                      const DeviceTraits& device, cudaStream_t stream);
bool decode_finishes_heads(Dtype cache, const FinishHeads& finish);

// Any number of rows; any device.
void prefill_attention(Dtype cache, const AttentionArguments& arguments, cudaStream_t stream);
// The same on Hopper. Whether it can be had: this build has code for it, and the copy engine can fetch what is where.
bool hopper_attention_runs(const AttentionArguments& arguments, const DeviceTraits& device);
std::size_t hopper_attention_bytes(const AttentionArguments& arguments, const DeviceTraits& device);
void hopper_attention(Dtype cache, const AttentionArguments& arguments, std::byte* workspace,
                      const DeviceTraits& device, cudaStream_t stream);

}  // namespace l2a::cuda
