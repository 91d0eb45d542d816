#!/usr/bin/env bash
# How fast l2a-bench runs models beside llama.cpp's llama-bench, and L2A beside dense: the same file and threads, runs
# that alternate.
#   examples/bench_vs_llama_cpp.sh MODEL.gguf...
# Prints a table of medians with their ratios and the share that ours is of what the machine can do. llama.cpp runs with
# flash attention and without; the faster counts, and is named. Minutes for models of a billion parameters.
# Settings, as variables:
#   L2A_BENCH    [build/cpu/examples/l2a-bench --backend cpu]
#   LLAMA_BENCH  the peer's command [llama-bench --device none]
#   PROMPT [512]   GENERATED [64]   DEPTHS [0 4096]   tokens, and positions before them
#   LEVELS       levels of our instructions beside the best, for prompts without a depth [avx512]
#   L2A_SHAPE    shape of the L2A model and the dense one that it is compared with; empty: none [0.6b]
#   L2A_DEPTH [16384]   L2A_WINDOW [1024]   L2A_ROUTED [0.2]
#   THREADS [all]   RUNS [3]   DEEP_RUNS, where there is a depth [1]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' examples/bench_vs_llama_cpp.sh; }

# One column of the only row of either program's CSV. No field holds a comma.
field() {
  awk -F, -v name="$1" '
    { gsub(/"/, "") }
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    { print name in column ? $column[name] : 0 }' "$work/csv"
}

# Runs a program once; leaves its CSV in a file.
run() {
  "$@" -o csv >"$work/csv" 2>"$work/log" || { cat "$work/log" >&2 && die "failed: $*"; }
}

median() {
  local values
  mapfile -t values < <(printf '%s\n' "$@" | sort -g)
  echo "${values[$((${#values[@]} / 2))]}"
}

row() { printf '| %-14s | %-22s | %10s | %9s | %10s | %-7s | %6s |\n' "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
fixed() { awk -v a="$1" 'BEGIN { printf "%.1f", a }'; }
percent() { awk -v a="$1" 'BEGIN { printf "%.0f%%", 100 * a }'; }

# A test on a file by both programs: compare FILE NAME RUNS TEST_OPTIONS -- OUR_OPTIONS
compare() {
  local file=$1 name=$2 count=$3 i flash best=0 with=''
  local -a test=() ours=() shares=() plain=() flashed=()
  shift 3
  while [[ $1 != -- ]]; do test+=("$1") && shift; done
  shift
  for ((i = 0; i < count; i++)); do
    # The commands may be several words.
    # shellcheck disable=SC2086
    run $l2a_bench -q "$file" "${test[@]}" -t "$threads" -r 1 "$@"
    ours+=("$(field median_ts)") shares+=("$(field limit_share)")
    for flash in 0 1; do
      # shellcheck disable=SC2086
      run $llama_bench -m "$file" "${test[@]}" -t "$threads" -r 1 -fa "$flash"
      if [[ $flash == 0 ]]; then plain+=("$(field avg_ts)"); else flashed+=("$(field avg_ts)"); fi
    done
  done
  best=$(median "${plain[@]}") with='-fa 0'
  if awk -v a="$(median "${flashed[@]}")" -v b="$best" 'BEGIN { exit !(a > b) }'; then
    best=$(median "${flashed[@]}") with='-fa 1'
  fi
  row "$(basename "$file" .gguf)" "$name" "$(fixed "$(median "${ours[@]}")")" \
    "$(percent "$(median "${shares[@]}")")" "$(fixed "$best")" "$with" \
    "$(ratio "$(median "${ours[@]}")" "$best")"
}

# What we hold in memory beside weights and caches, after a prompt.
beyond() {
  # shellcheck disable=SC2086
  run $l2a_bench -q "$1" -p "$prompt" -n 0 -t "$threads" -r 1
  awk -v all="$(field resident_bytes)" -v weights="$(field model_size)" \
    -v local="$(field cache_bytes_local)" -v global="$(field cache_bytes_global)" \
    -v file="$(basename "$1" .gguf)" -v prompt="$prompt" 'BEGIN {
      printf "%s, a prompt of %d: %.0f MB in memory beyond weights and caches\n", file, prompt,
        (all - weights - local - global) / 1e6 }'
}

# Tokens one by one, an L2A model beside the dense one.
l2a_beside_dense() {
  local i
  local -a dense=() routed=()
  local model=(--shape "$L2A_SHAPE" --type q8_0 -p 0 -n "$generated" -d "$l2a_depth" -t "$threads" -r 1)
  for ((i = 0; i < deep_runs; i++)); do
    # shellcheck disable=SC2086
    run $l2a_bench -q "${model[@]}"
    dense+=("$(field median_ts)")
    # shellcheck disable=SC2086
    run $l2a_bench -q "${model[@]}" --l2a --window "$l2a_window" --route "forced:$l2a_routed"
    routed+=("$(field median_ts)")
  done
  say
  say "Shape $L2A_SHAPE in q8_0, tg$generated @ $l2a_depth: L2A (window $l2a_window, $l2a_routed routed)" \
    "$(fixed "$(median "${routed[@]}")") t/s, dense $(fixed "$(median "${dense[@]}")") t/s:" \
    "$(ratio "$(median "${routed[@]}")" "$(median "${dense[@]}")")"
}

case ${1:-} in
  -h | --help) usage && exit ;;
  '') usage >&2 && exit 2 ;;
esac
l2a_bench=${L2A_BENCH:-build/cpu/examples/l2a-bench --backend cpu}
llama_bench=${LLAMA_BENCH:-llama-bench --device none}
prompt=${PROMPT:-512} generated=${GENERATED:-64} depths=${DEPTHS:-0 4096} levels=${LEVELS-avx512}
L2A_SHAPE=${L2A_SHAPE-0.6b} l2a_depth=${L2A_DEPTH:-16384} l2a_window=${L2A_WINDOW:-1024}
l2a_routed=${L2A_ROUTED:-0.2}
threads=${THREADS:-$(nproc)} runs=${RUNS:-3} deep_runs=${DEEP_RUNS:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in "$@"; do [[ -r $file ]] || die "$file: cannot be read"; done

say "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $threads threads, medians of $runs runs that" \
  "alternate, $deep_runs where there is a depth"
row model test 'l2a t/s' 'of limit' 'llama t/s' with ratio
row -------------- ---------------------- ---------: --------: ---------: ------- -----:
for file in "$@"; do
  file=$(realpath "$file")
  for depth in $depths; do
    count=$([[ $depth == 0 ]] && echo "$runs" || echo "$deep_runs")
    at=$([[ $depth == 0 ]] || echo " @ $depth")
    compare "$file" "pp$prompt$at" "$count" -p "$prompt" -n 0 -d "$depth" --
    if [[ $depth == 0 ]]; then
      for level in $levels; do
        compare "$file" "pp$prompt, --cpu $level" "$count" -p "$prompt" -n 0 -d 0 -- --cpu "$level"
      done
    fi
    compare "$file" "tg$generated$at" "$count" -p 0 -n "$generated" -d "$depth" --
  done
done
say
for file in "$@"; do beyond "$file"; done
if [[ -n $L2A_SHAPE ]]; then l2a_beside_dense; fi
