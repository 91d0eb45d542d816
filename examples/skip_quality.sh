#!/usr/bin/env bash
# What skipping long reads costs: perplexity and KL divergence from the dense model, on documents that the routers were
# not fitted to and at positions that the window does not reach, for fitted routers, random picks and an oracle.
#   examples/skip_quality.sh MODEL.gguf FOLDER
# Writes FOLDER/table.md and FOLDER/curve.svg, and keeps the fitted model, its state and each run's figures there, so that
# a second run goes on where the first one stopped. Debian 12 or 13 or Ubuntu 24.04, with the programs built (quickstart.sh).
#
# Settings, by environment: L2A_TOKENS (200000) to fit to, L2A_CHUNKS (8) documents to judge by, L2A_CONTEXT (4096),
# L2A_WINDOW (256), L2A_SINKS (4), L2A_SKIPS ("0.5 0.7 0.8 0.9 0.95"), L2A_PROGRAMS (build/cpu/examples).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

[[ $# -eq 2 && -f $1 ]] || die "usage: examples/skip_quality.sh MODEL.gguf FOLDER"
model=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
programs=$(realpath "${L2A_PROGRAMS:-build/cpu/examples}")
context=${L2A_CONTEXT:-4096} window=${L2A_WINDOW:-256} sinks=${L2A_SINKS:-4}
tokens=${L2A_TOKENS:-200000} chunks=${L2A_CHUNKS:-8}
read -ra skips <<<"${L2A_SKIPS:-0.5 0.7 0.8 0.9 0.95}"
fitted=$folder/fitted.gguf

# Python's manual as its authors wrote it: long documents of prose and code, under the PSF licence.
fetch_text() {
  local package
  package=$(apt-cache depends python3-doc | sed -n 's/^ *Depends: \(python3\.[0-9]*-doc\)$/\1/p')
  [[ -n $package ]] || die "no package index knows python3-doc: run apt-get update"
  heading "Text: the Debian package $package"
  mkdir -p "$folder/package"
  (cd "$folder/package" && quietly apt-get download "$package" && dpkg -x "$package"_*.deb .)
  # Documents of a context's length and more, in an order that mixes subjects and is always the same.
  (cd "$folder"/package/usr/share/doc/python3.*[0-9]/html/_sources &&
    find library howto reference tutorial whatsnew c-api -name '*.rst.txt' -size "+$((context * 5 / 1024))k" |
    LC_ALL=C sort | while read -r file; do
      printf '%s %s\n' "$(cksum <<<"$file" | cut -d ' ' -f 1)" "$PWD/$file"
    done | sort -n | cut -d ' ' -f 2) >"$folder/documents"
  awk 'NR % 4 != 0' "$folder/documents" >"$folder/fit.txt"
  awk 'NR % 4 == 0' "$folder/documents" >"$folder/held-out.txt"
}

fit() {
  heading "Fit"
  mapfile -t fit_texts <"$folder/fit.txt"
  mapfile -t held <"$folder/held-out.txt"
  # The documents that the table is made of come after those that choose ridge and cut.
  "$programs/l2a-fit-router" "$model" -f "${fit_texts[@]}" --held-out "${held[@]:0:${#held[@]} / 2}" \
    -o "$fitted" --window "$window" --sinks "$sinks" --context "$context" --tokens "$tokens" \
    --state "$folder/fit.state" | tee "$folder/fit.log"
}

# Figures of one way to route, kept in $folder/NAME.json.
judge() {
  local name=$1
  shift
  [[ -s $folder/$name.json ]] && return
  say "$name"
  mapfile -t held <"$folder/held-out.txt"
  "$programs/l2a-perplexity" "$fitted" -f "${held[@]:${#held[@]} / 2}" --context "$context" --from "$window" \
    --chunks "$chunks" --json "$@" >"$folder/$name.part"
  mv "$folder/$name.part" "$folder/$name.json"
}

# A number of a run: value NAME KEY.
value() { sed -n "s/^ *\"$2\": \([-0-9.e]*\),\{0,1\}$/\1/p" "$folder/$1.json" | head -n 1; }

row() {  # row LABEL SHARE NAME
  local dense
  dense=$(value dense perplexity)
  awk -v label="$1" -v skip="$2" -v perplexity="$(value "$3" perplexity)" -v dense="$dense" \
    -v narrow="$(value narrow perplexity)" -v kl="$(value "$3" mean)" 'BEGIN {
      gap = narrow - dense
      printf "| %s | %s | %.3f | %+.2f%% | %.0f%% | %.4f |\n", label, skip, perplexity,
        100 * (perplexity / dense - 1), (gap > 0) ? 100 * (narrow - perplexity) / gap : 0, kl
    }'
}

table() {
  say "| routing | skipped | perplexity | over dense | gap closed | KL to dense |"
  say "|---|---|---|---|---|---|"
  printf '| dense | 0%% | %.3f | | 100%% | |\n' "$(value dense perplexity)"
  local way skip
  for way in fitted oracle random; do
    for skip in "${skips[@]}"; do
      [[ -s $folder/$way-$skip.json ]] || continue
      row "$way" "$(awk -v s="$(value "$way-$skip" share)" 'BEGIN { printf "%.1f%%", 100 - 100 * s }')" "$way-$skip"
    done
  done
  row "window and sinks only" "100%" narrow
}

# Perplexity over dense by the share skipped, one line a way to route.
curve() {
  local way skip
  for way in fitted oracle random; do
    for skip in "${skips[@]}"; do
      [[ -s $folder/$way-$skip.json ]] &&
        say "$way $(value "$way-$skip" share) $(value "$way-$skip" perplexity)"
    done
    say "$way 0 $(value narrow perplexity)"
  done | awk -v dense="$(value dense perplexity)" '
    { way[NR] = $1; skip[NR] = 1 - $2; rise[NR] = 100 * ($3 / dense - 1); if (rise[NR] > top) top = rise[NR] }
    function x(s) { return 60 + 480 * (s - 0.4) / 0.6 }
    function y(r) { return 300 - 260 * r / top }
    END {
      if (top <= 0) top = 1
      colour["fitted"] = "var(--fitted)"; colour["oracle"] = "var(--oracle)"; colour["random"] = "var(--random)"
      print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 350\" font-family=\"sans-serif\" font-size=\"12\">"
      print "<style>"
      print "svg { --page: #fff; --text: #1b1f24; --grid: #d8dee4; --fitted: #0969da; --oracle: #1a7f37; --random: #cf5b00; }"
      print "@media (prefers-color-scheme: dark) { svg { --page: #0d1117; --text: #e6edf3; --grid: #30363d;"
      print "  --fitted: #4493f8; --oracle: #3fb950; --random: #f0883e; } }"
      print "text { fill: var(--text); } .page { fill: var(--page); } .grid { stroke: var(--grid); }"
      print "polyline { fill: none; stroke-width: 2; }"
      print "</style>"
      print "<rect class=\"page\" width=\"640\" height=\"350\"/>"
      for (s = 0.4; s < 1.01; s += 0.1)
        printf "<path d=\"M%g 40V300\" class=\"grid\"/><text x=\"%g\" y=\"318\" text-anchor=\"middle\">%d%%</text>\n", x(s), x(s), 100 * s + 0.5
      for (i = 0; i <= 4; ++i)
        printf "<path d=\"M60 %gH540\" class=\"grid\"/><text x=\"54\" y=\"%g\" text-anchor=\"end\">+%.1f%%</text>\n", y(top * i / 4), y(top * i / 4) + 4, top * i / 4
      print "<text x=\"300\" y=\"340\" text-anchor=\"middle\">tokens skipped, over all layers</text>"
      print "<text x=\"60\" y=\"24\">perplexity past the window, over the dense model; at 100% window and sinks alone</text>"
      for (i = 1; i <= NR; ++i) {
        points[way[i]] = points[way[i]] sprintf("%.1f,%.1f ", x(skip[i]), y(rise[i]))
        if (skip[i] < 1)
          printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" style=\"fill:%s\"/>\n", x(skip[i]), y(rise[i]), colour[way[i]]
      }
      line = 40
      for (w in colour) {
        printf "<polyline points=\"%s\" style=\"stroke:%s\"/>\n", points[w], colour[w]
        printf "<text x=\"550\" y=\"%g\" style=\"fill:%s\">%s</text>\n", line += 18, colour[w], w
      }
      print "</svg>"
    }'
}

[[ -s $folder/held-out.txt ]] || fetch_text
[[ -s $fitted ]] || fit
heading "Quality"
base=$folder/dense.safetensors
if [[ ! -s $base ]]; then rm -f "$folder/dense.json"; fi
judge dense --route forced:1 --save-logits "$base"
judge narrow --skip 1 --kl "$base"
for skip in "${skips[@]}"; do
  share=$(awk -v s="$skip" 'BEGIN { print 1 - s }')
  judge "fitted-$skip" --skip "$skip" --kl "$base"
  judge "random-$skip" --route "forced:$share" --kl "$base"
  judge "oracle-$skip" --route "oracle:$share" --kl "$base"
done
table >"$folder/table.md"
curve >"$folder/curve.svg"
cat "$folder/table.md"
say "the curve is in $folder/curve.svg"
