/* The CUDA attention of a built libl2a on device memory of the caller's, in C: for other languages, and to measure it
 * beside other libraries (tests/gpu_peers.py). Configure with -DBUILD_SHARED_LIBS=ON for a library to load.
 *
 * Functions return 0, or -1 and a message in l2a_cuda_error(). Calls of one thread at a time. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ops/attention.h says what is computed. Contiguous tensors on the current device. */
typedef struct L2aCudaAttention {
  const float* query;        /* [tokens, query_heads, dim]; with rows only as many as they list */
  const void *keys, *values; /* [capacity, key_heads, dim] */
  const int32_t* positions;  /* [tokens], consecutive */
  const int32_t* rows;       /* null, or a count and the tokens that the query holds, ascending */
  float* out;                /* as the query */
  int64_t tokens, capacity, query_heads, key_heads, dim;
  int64_t window, sinks; /* keys that a token sees, and first ones that all see; 0: every key */
  int32_t bf16;          /* keys and values: 0 f16, 1 bf16 */
} L2aCudaAttention;

/* Device memory that the call needs besides, which the caller has cleared before the first use. */
int l2a_cuda_attention_scratch(const L2aCudaAttention* call, int64_t* bytes);
/* Puts the work into a cudaStream_t and returns. */
int l2a_cuda_attention(const L2aCudaAttention* call, void* scratch, void* stream);

/* Of the last call that failed. */
const char* l2a_cuda_error(void);

#ifdef __cplusplus
}
#endif
