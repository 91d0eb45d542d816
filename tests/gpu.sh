#!/bin/sh
# On a machine with an NVIDIA GPU and the CUDA toolkit: builds, runs the conformance suite and the checkpoints on CUDA,
# a small set of them under compute-sanitizer, and prints speeds beside what the GPU reads and multiplies at most.
# Sources only, no network; some minutes. Usage: tests/gpu.sh [BUILD_FOLDER]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/cuda}

architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
[ "$architecture" = 90 ] && architecture=90a
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DL2A_CUDA=ON -DL2A_VULKAN=OFF \
  -DL2A_CUDA_ARCHITECTURES="$architecture"
cmake --build "$build" --target l2a-tests --target l2a-bench

echo "== conformance and checkpoints"
"$build/tests/l2a-tests" --no-version --test-case='*CUDA*,every checkpoint*,with an f16 cache*'

if command -v compute-sanitizer > /dev/null; then
  sanitize() { # TOOL CASES
    echo "== $1: $2"
    L2A_CONFORMANCE_CASES="$2" compute-sanitizer --tool "$1" --error-exitcode 1 \
      "$build/tests/l2a-tests" --no-version --test-case='the CUDA backend computes*,CUDA products in int8*'
  }
  for cases in 'matmul q8_0 5' 'matmul q4_k 140' 'matmul q6_k 1x' 'matmul bf16 140' 'dim 128 window 70 sinks 5' \
    'capacity 2100' 'capacity 205' 'capacity 3020' 'several tiles' 'route 127' 'gather and scatter 127' \
    'l2a_attention add 9' 'argmax 3' 'kv_append f16'; do
    sanitize memcheck "$cases"
  done
  for cases in 'matmul q8_0 7x' 'matmul q4_k 5' 'matmul f16 140' 'dim 64 window 70 sinks 5' 'capacity 2100' \
    'route 127' 'rms_norm 3'; do
    sanitize racecheck "$cases"
  done
else
  echo "compute-sanitizer is not installed: memory and races are not checked"
fi

echo "== speed"
bench() { "$build/examples/l2a-bench" --backend cuda --quiet "$@"; }
for type in q8_0 q4_k_m bf16; do
  bench --shape 0.6b --type $type -p 512 -n 64 -r 3
  bench --shape 8b --type $type -p 2048 --chunk 2048 -n 64 -r 3
done
if [ "$architecture" = 90a ]; then
  for type in q8_0 q4_k_m; do
    bench --shape 8b --type $type --prefill-precision int8 -p 2048 --chunk 2048 -n 0 -r 3
  done
fi
bench --shape 8b --type q8_0 -p 2048 --chunk 2048 -n 32 -d 32768 -r 3
bench --shape 8b --type q8_0 --l2a --route forced:0.2 -p 2048 --chunk 2048 -n 32 -d 32768 -r 3
# The first token of a long document, and those that follow it.
for l2a in '' '--l2a --route forced:0.2'; do
  # shellcheck disable=SC2086
  bench --shape 8b --type q8_0 $l2a -p 131072 --chunk 4096 -n 0 -r 1
  # shellcheck disable=SC2086
  bench --shape 8b --type q8_0 $l2a -p 0 -n 32 -d 131072 -r 2
done
