#!/usr/bin/env python3
"""Times the CUDA attention beside PyTorch's on one GPU, same shapes, same run, and prints ratios.

Needs PyTorch and libl2a as a shared library:
  cmake --preset cuda -DBUILD_SHARED_LIBS=ON && cmake --build build/cuda --target l2a
  python3 tests/gpu_peers.py build/cuda/libl2a.so

Dense attention is causal over all tokens, by each of PyTorch's kernels that takes the shape. Ours is the same, with a
window (what local attention computes) and of routed tokens alone (what global attention computes). A result is first
compared with plain float32 arithmetic on a small shape.
"""
import argparse
import ctypes
import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

POINTERS = ("query", "keys", "values", "positions", "rows", "out")
NUMBERS = ("tokens", "capacity", "query_heads", "key_heads", "dim", "window", "sinks")


class Attention(ctypes.Structure):
    """L2aCudaAttention of backends/cuda/attention_c.h."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in POINTERS]
        + [(name, ctypes.c_int64) for name in NUMBERS]
        + [("bf16", ctypes.c_int32)]
    )


class Library:
    def __init__(self, path):
        self.functions = ctypes.CDLL(path)
        self.functions.l2a_cuda_error.restype = ctypes.c_char_p

    def check(self, code):
        if code != 0:
            sys.exit("libl2a: " + self.functions.l2a_cuda_error().decode())

    def attention(self, query, keys, values, rows=None, window=0):
        """A function that computes it once more, and the tensor that it writes."""
        tokens = query.shape[0] if rows is None else int(rows.numel()) - 1
        positions = torch.arange(tokens, dtype=torch.int32, device="cuda")
        out = torch.full_like(query, float("nan"))
        call = Attention(tokens=tokens, capacity=keys.shape[0], query_heads=query.shape[1], key_heads=keys.shape[1],
                         dim=query.shape[2], window=window, bf16=int(keys.dtype == torch.bfloat16))
        tensors = {"query": query, "keys": keys, "values": values, "positions": positions, "rows": rows, "out": out}
        for name, tensor in tensors.items():
            setattr(call, name, None if tensor is None else tensor.data_ptr())
        size = ctypes.c_int64()
        self.check(self.functions.l2a_cuda_attention_scratch(ctypes.byref(call), ctypes.byref(size)))
        scratch = torch.zeros(size.value, dtype=torch.uint8, device="cuda")

        def run(kept=tensors):  # the tensors live as long as the function
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            self.check(self.functions.l2a_cuda_attention(ctypes.byref(call), ctypes.c_void_p(scratch.data_ptr()), stream))

        return run, out


def plain(query, keys, values, visible):
    """The definition, in float32; visible is a mask [rows, keys]."""
    group = query.shape[1] // keys.shape[1]
    k, v = (x.float().repeat_interleave(group, 1) for x in (keys, values))
    scores = torch.einsum("qhd,khd->hqk", query, k) / query.shape[2] ** 0.5
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)


def routed_rows(tokens, share):
    listed = torch.nonzero(torch.rand(tokens, device="cuda") < share).flatten().int()
    rows = torch.zeros(tokens + 1, dtype=torch.int32, device="cuda")
    rows[0] = listed.numel()
    rows[1:1 + listed.numel()] = listed
    return rows, listed


def operands(tokens, options, dtype):
    query = torch.randn(tokens, options.query_heads, options.dim, device="cuda")
    keys, values = (torch.randn(tokens, options.key_heads, options.dim, device="cuda").to(dtype) for _ in range(2))
    return query, keys, values


def compare(library, options, dtype):
    tokens, window = 1500, 400
    query, keys, values = operands(tokens, options, dtype)
    rows, listed = routed_rows(tokens, options.share)
    at = torch.arange(tokens, device="cuda")
    causal = at[None, :] <= at[:, None]
    in_window = causal & (at[:, None] - at[None, :] < window)
    tolerance = 2e-3 if dtype == torch.float16 else 1.5e-2
    for name, q, r, w, visible in (("dense", query, None, 0, causal), ("local", query, None, window, in_window),
                                   ("routed", query[listed.long()], rows, 0, causal[listed.long()])):
        run, out = library.attention(q.contiguous(), keys, values, r, w)
        run()
        expected = plain(q, keys, values, visible)
        error = ((out - expected).abs().max() / expected.abs().max()).item()
        if not error <= tolerance:
            sys.exit(f"{name} attention is wrong: an error of {error:.2e} of the largest result")
        print(f"{name} attention, {dtype}: error {error:.1e} of the largest result", flush=True)


def median_ms(run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libl2a.so")
    parser.add_argument("--tokens", type=int, default=131072)
    parser.add_argument("--share", type=float, default=0.2, help="of tokens that are routed (%(default)s)")
    parser.add_argument("--window", type=int, default=4095)
    parser.add_argument("--query-heads", type=int, default=32)
    parser.add_argument("--key-heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--type", choices=("f16", "bf16"), default="f16")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    dtype = torch.float16 if options.type == "f16" else torch.bfloat16
    torch.manual_seed(1)
    library = Library(options.library)
    compare(library, options, dtype)

    tokens, window = options.tokens, options.window
    query, keys, values = operands(tokens, options, dtype)
    rows, listed = routed_rows(tokens, options.share)
    per_key = 4 * options.query_heads * options.dim
    every = per_key * tokens * (tokens + 1) / 2
    seen = torch.arange(1, tokens + 1, device="cuda", dtype=torch.float64)
    results = []  # name, ms, operations

    def measure(name, operations, run):
        results.append((name, median_ms(run, options.repetitions), operations))

    heads_first = [x.to(dtype).transpose(0, 1).unsqueeze(0).contiguous() for x in (query, keys, values)]
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend):
            def dense():
                torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True, enable_gqa=True)

            try:
                measure(f"PyTorch {backend.name.lower()}, dense", every, dense)
            except RuntimeError as error:
                print(f"{backend.name}: {str(error).splitlines()[0]}")
    best = min((ms for _, ms, _ in results), default=float("nan"))
    measure("l2a, dense", every, library.attention(query, keys, values)[0])
    measure(f"l2a, window {window}", per_key * seen.clamp(max=window).sum().item(),
            library.attention(query, keys, values, window=window)[0])
    measure(f"l2a, {listed.numel()} routed tokens", per_key * seen[listed.long()].sum().item(),
            library.attention(query[listed.long()].contiguous(), keys, values, rows)[0])

    print(f"\n{torch.cuda.get_device_name()}, PyTorch {torch.__version__}: {tokens} tokens, "
          f"{options.query_heads}/{options.key_heads} heads of {options.dim}, {options.type}\n")
    print("| | ms | TFLOP/s | best dense of PyTorch / this |\n|---|---|---|---|")
    for name, ms, operations in results:
        print(f"| {name} | {ms:.2f} | {operations / ms * 1e-9:.0f} | {best / ms:.2f} |")


if __name__ == "__main__":
    main()
