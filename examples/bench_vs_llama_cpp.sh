#!/usr/bin/env bash
# How fast l2a-bench runs a model beside llama.cpp's llama-bench: the same file and threads, runs that alternate.
#   examples/bench_vs_llama_cpp.sh MODEL.gguf...
# Prints a table of medians with their ratios and the share that ours is of what the machine can do.
# Settings, as variables:
#   L2A_BENCH    [build/cpu/examples/l2a-bench --backend cpu]
#   LLAMA_BENCH  the peer's command [llama-bench --device none]
#   PROMPTS [512]   GENERATED [64]   DEPTHS [0]   lists with commas; 0 leaves a kind out
#   THREADS [all]   RUNS [5]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

usage() { sed -n '2,9s/^# \{0,1\}//p' examples/bench_vs_llama_cpp.sh; }

# Reads either program's CSV from a file; prints "test speed share" a line. No field holds a comma.
read_csv() {
  awk -F, -v speed="$2" '
    { gsub(/"/, "") }
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    {
      prompt = $column["n_prompt"]; depth = $column["n_depth"]
      test = prompt > 0 ? "pp" prompt : "tg" $column["n_gen"]
      share = "limit_share" in column ? $column["limit_share"] : 0
      print test (depth > 0 ? "@" depth : ""), $column[speed], share
    }' "$1"
}

# Runs a program once and appends its figures to a file.
measure() {
  local speed=$1 figures=$2
  shift 2
  "$@" -o csv >"$work/csv" 2>"$work/log" || { cat "$work/log" >&2 && die "failed: $*"; }
  read_csv "$work/csv" "$speed" >>"$figures"
}

# The median of a column of the lines of one test.
median() {
  awk -v test="$2" -v column="$3" '$1 == test { print $column }' "$1" | sort -g |
    sed -n "$(((runs + 1) / 2))p"
}

compare() {
  local file=$1 run test ours peer
  local options=(-m "$file" -p "$prompts" -n "$generated" -d "$depths" -t "$threads" -r 1)
  : >"$work/ours"
  : >"$work/peer"
  for ((run = 0; run < runs; run++)); do
    # The commands may be several words.
    # shellcheck disable=SC2086
    measure median_ts "$work/ours" $l2a_bench -q "${options[@]:1}"
    # shellcheck disable=SC2086
    measure avg_ts "$work/peer" $llama_bench "${options[@]}"
  done
  while read -r test; do
    ours=$(median "$work/ours" "$test" 2) peer=$(median "$work/peer" "$test" 2)
    [[ -n $peer ]] || die "$test: llama-bench did not measure it"
    awk -v file="$(basename "$file")" -v test="$test" -v a="$ours" -v b="$peer" \
      -v share="$(median "$work/ours" "$test" 3)" 'BEGIN {
        printf "| %-28s | %-12s | %10.1f | %9.0f%% | %10.1f | %6.2f |\n", file, test, a, 100 * share, b, a / b }'
  done < <(awk '!seen[$1]++ { print $1 }' "$work/ours")
}

case ${1:-} in
  -h | --help) usage && exit ;;
  '') usage >&2 && exit 2 ;;
esac
l2a_bench=${L2A_BENCH:-build/cpu/examples/l2a-bench --backend cpu}
llama_bench=${LLAMA_BENCH:-llama-bench --device none}
prompts=${PROMPTS:-512} generated=${GENERATED:-64} depths=${DEPTHS:-0}
threads=${THREADS:-$(nproc)} runs=${RUNS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in "$@"; do [[ -r $file ]] || die "$file: cannot be read"; done

say "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $threads threads, medians of $runs runs that alternate"
printf '| %-28s | %-12s | %10s | %10s | %10s | %6s |\n' model test 'l2a t/s' 'of limit' 'llama t/s' ratio
echo '| ---------------------------- | ------------ | ----------:| ----------:| ----------:| ------:|'
for file in "$@"; do compare "$(realpath "$file")"; done
