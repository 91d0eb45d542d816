#!/usr/bin/env bash
# Times l2a-convert against llama.cpp's llama-quantize: the same file, types and threads, runs that alternate.
#   convert/speed.sh SOURCE.gguf [TYPE ...]     f16 or f32 source; types q4_k_m and q8_0 unless given
# Prints medians, their ratio, and the memory that each needed. Settings, as variables:
#   L2A_CONVERT     [build/cpu/examples/l2a-convert]
#   LLAMA_QUANTIZE  the peer's command [llama-quantize]
#   THREADS [all]   RUNS [3]   WORK [a temporary folder, which must hold three times the source]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

usage() { sed -n '2,7s/^# \{0,1\}//p' convert/speed.sh; }

median() { sort -n | sed -n "$(((runs + 1) / 2))p"; }

# Runs a command; prints seconds and peak MB.
measure() {
  local log=$work/log
  if ! /usr/bin/time -f '%e %M' -o "$work/time" "$@" >"$log" 2>&1; then
    cat "$log" >&2
    die "failed: $*"
  fi
  awk '{ printf "%s %d\n", $1, $2 / 1000 }' "$work/time"
}

compare() {
  local type=$1 run ours peer
  : >"$work/ours"
  : >"$work/peer"
  for ((run = 0; run < runs; run++)); do
    measure "$l2a_convert" "$source" -o "$work/ours.gguf" --type "$type" --threads "$threads" --quiet \
      >>"$work/ours"
    # The command may be several words.
    # shellcheck disable=SC2086
    measure $llama_quantize "$source" "$work/peer.gguf" "${type^^}" "$threads" >>"$work/peer"
  done
  ours=$(cut -d' ' -f1 "$work/ours" | median) peer=$(cut -d' ' -f1 "$work/peer" | median)
  printf '%-8s %8.2f s %6d MB   %8.2f s %6d MB   %6.2f x\n' "$type" \
    "$ours" "$(cut -d' ' -f2 "$work/ours" | median)" "$peer" "$(cut -d' ' -f2 "$work/peer" | median)" \
    "$(awk -v a="$peer" -v b="$ours" 'BEGIN { print a / b }')"
}

case ${1:-} in
  -h | --help) usage && exit ;;
  '') usage >&2 && exit 2 ;;
esac
source=$(realpath "$1")
shift
[[ $# -gt 0 ]] || set -- q4_k_m q8_0
[[ -r $source ]] || die "$source: cannot be read"
[[ -x /usr/bin/time ]] || die "needs GNU time: apt-get install time"
l2a_convert=${L2A_CONVERT:-build/cpu/examples/l2a-convert}
llama_quantize=${LLAMA_QUANTIZE:-llama-quantize}
threads=${THREADS:-$(nproc)} runs=${RUNS:-3}
work=${WORK:-$(mktemp -d)}
[[ -n ${WORK:-} ]] || trap 'rm -rf "$work"' EXIT

say "$(basename "$source"), $threads threads, medians of $runs runs that alternate"
printf '%-8s %22s   %22s\n' '' l2a-convert llama-quantize
for type in "$@"; do compare "$type"; done
