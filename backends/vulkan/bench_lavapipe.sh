#!/usr/bin/env bash
# Times l2a-bench against llama.cpp's llama-bench, both on Vulkan and on the same lavapipe, in runs that alternate.
#   backends/vulkan/bench_lavapipe.sh MODEL.gguf
# Prints tokens a second of a prompt and of single tokens, by the clock and for each second that all of the machine's
# processors spent, which is what to go by where it does other work too; medians, and their ratio. Starting and compiling
# are not counted: each figure is the difference of a longer and a shorter run. Settings, as variables:
#   L2A_BENCH     [build/vulkan/examples/l2a-bench]
#   LLAMA_BENCH   the peer's command, which must choose lavapipe [env GGML_VK_VISIBLE_DEVICES=0 llama-bench]
#   PROMPT [64]   GENERATED [8]   RUNS [3]
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

usage() { sed -n '2,9s/^# \{0,1\}//p' backends/vulkan/bench_lavapipe.sh; }

median() { sort -n | sed -n "$(((runs + 1) / 2))p"; }

# Runs an engine with some tests, repeated; prints seconds by the clock and of processors.
measure() {
  local engine=$1 repetitions=$2
  shift 2
  # The commands may be several words.
  # shellcheck disable=SC2206
  local command=($l2a_bench "$model" --backend vulkan -q)
  # shellcheck disable=SC2206
  [[ $engine == ours ]] || command=($llama_bench -m "$model" -ngl 99)
  if ! /usr/bin/time -f '%e %U %S' -o "$work/time" \
    "${command[@]}" "$@" -r "$repetitions" --no-warmup >"$work/$engine.log" 2>&1; then
    cat "$work/$engine.log" >&2
    die "failed: ${command[*]} $*"
  fi
  awk '{ print $1, $2 + $3 }' "$work/time"
}

# What some more repetitions take: seconds by the clock and of processors.
difference() {
  local engine=$1 more=$2 short long
  shift 2
  short=$(measure "$engine" 1 "$@")
  long=$(measure "$engine" $((1 + more)) "$@")
  awk -v s="$short $long" 'BEGIN { split(s, t); print t[3] - t[1], t[4] - t[2] }'
}

# compare NAME TOKENS MORE ARGUMENT...: tokens of a repetition, and how many more the longer run has.
compare() {
  local name=$1 tokens=$2 more=$3 run engine seconds what ours peer
  shift 3
  rm -f "$work"/*.clock "$work"/*.processor
  for ((run = 0; run < runs; run++)); do
    for engine in ours peer; do
      seconds=$(difference "$engine" "$more" "$@")
      awk -v n=$((tokens * more)) -v s="$seconds" 'BEGIN { split(s, t); print n / t[1] }' \
        >>"$work/$engine.clock"
      awk -v n=$((tokens * more * $(nproc))) -v s="$seconds" 'BEGIN { split(s, t); print n / t[2] }' \
        >>"$work/$engine.processor"
    done
  done
  for what in clock processor; do
    ours=$(median <"$work/ours.$what") peer=$(median <"$work/peer.$what")
    printf '%-6s %-10s %10.2f t/s %10.2f t/s %8.2f x\n' "$name" "$what" "$ours" "$peer" \
      "$(awk -v a="$ours" -v b="$peer" 'BEGIN { print a / b }')"
  done
}

lavapipe_of() { grep -o -m1 'llvmpipe (LLVM[^)]*)' "$1" || true; }

case ${1:-} in
  -h | --help) usage && exit ;;
  '') usage >&2 && exit 2 ;;
esac
model=$(realpath "$1")
[[ -r $model ]] || die "$model: cannot be read"
[[ -x /usr/bin/time ]] || die "needs GNU time: apt-get install time"
l2a_bench=${L2A_BENCH:-build/vulkan/examples/l2a-bench}
llama_bench=${LLAMA_BENCH:-env GGML_VK_VISIBLE_DEVICES=0 llama-bench}
prompt=${PROMPT:-64} generated=${GENERATED:-8} runs=${RUNS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Both are to run on the same driver and compiler. The peer names its device when it runs.
# shellcheck disable=SC2086
$l2a_bench --list-devices >"$work/devices.log"
measure peer 1 -p 1 -n 0 >/dev/null
device=$(lavapipe_of "$work/devices.log")
[[ -n $device ]] || die "l2a-bench has no lavapipe here"
[[ $device == "$(lavapipe_of "$work/peer.log")" ]] ||
  die "the peer does not run on $device, but on '$(lavapipe_of "$work/peer.log")'"

say "$(basename "$model") on $device, $(nproc) processors, medians of $runs runs that alternate"
printf '%-17s %14s %14s %10s\n' '' l2a-bench llama-bench ratio
compare "tg$generated" "$generated" 4 -p 0 -n "$generated"
compare "pp$prompt" "$prompt" 1 -p "$prompt" -n 0
