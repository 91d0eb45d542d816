#!/usr/bin/env bash
# Checks the project from nothing: installs what is missing, builds, and runs every test.
#   tests/run.sh           all of it: GCC, sanitizers, Clang with clang-tidy and fuzzing, every preset
#   tests/run.sh --quick   GCC's build and its tests only
# Debian 12 or 13 or Ubuntu 24.04, as root or with sudo. Build folders are under build/; a second run
# installs nothing and builds what changed. Stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

passed=0
section='' section_start=0

usage() { sed -n '2,6s/^# \{0,1\}//p' tests/run.sh; }

end_section() {
  if [[ -n $section ]]; then say "-- $section: $((SECONDS - section_start)) s"; fi
  section=''
}

begin_section() {
  end_section
  section=$1 section_start=$SECONDS
  heading "$section"
}

on_exit() {
  local status=$?
  if [[ $status -eq 0 ]]; then return; fi
  if [[ -n $section ]]; then complain "failed in: $section"; fi
  # A build that breaks is a failure even where no test could run.
  [[ ${failed:-0} -gt 0 ]] || failed=1
  say "$passed passed, $failed failed"
}

# PRESET [OPTIONS]: the configure step says which backends are in; the rest of it is noise unless it fails.
configure() {
  local log
  log=$(mktemp)
  if ! cmake --preset "$@" >"$log" 2>&1; then
    cat "$log"
    rm -f "$log"
    return 1
  fi
  grep -E '^-- l2a:' "$log" || true
  rm -f "$log"
}

# On a terminal ninja's own progress is one line; elsewhere it would be hundreds.
build() {
  if [[ -t 1 ]]; then
    cmake --build "build/$1"
  else
    quietly cmake --build "build/$1"
  fi
}

# Runs a preset's CTest tests and adds to the counts.
run_tests() {
  local log=build/$1/ctest.log status=0 bad total
  ctest --preset "$1" --parallel "$(nproc)" 2>&1 | tee "$log" || status=$?
  # "100% tests passed, 0 tests failed out of 7"
  bad=$(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log")
  total=$(sed -n 's/.* tests failed out of \([0-9]*\).*/\1/p' "$log")
  # CTest calls it a success when there are no tests at all.
  [[ ${total:-0} -gt 0 ]] || die "no tests ran"
  passed=$((passed + total - bad)) failed=$bad
  [[ $status -eq 0 ]] || return "$status"
}

check_with_gcc() {
  begin_section "GCC: every warning an error, all tests; Vulkan on Mesa's lavapipe, CUDA compiled where nvcc is"
  # The kernels' sources know two kinds of GPU, those from 9.0 on and those before: one of each is compiled for.
  configure all -DL2A_CUDA_ARCHITECTURES='80;90a'
  build all
  run_tests all
}

check_with_sanitizers() {
  begin_section "Address and undefined-behaviour sanitizers: all tests"
  configure asan
  build asan
  run_tests asan
}

check_with_clang() {
  begin_section "Clang: every warning an error, clang-tidy, and a minute of fuzzing for each reader"
  configure clang
  build clang
  run_tests clang
}

# The other presets, of backends whose toolkits may be absent, must still configure, and say what they found.
check_presets() {
  local preset
  begin_section "Presets: each configures on this machine"
  for preset in cpu vulkan cuda; do
    say "$preset"
    configure "$preset"
  done
}

main() {
  local quick=no
  case ${1:-} in
    '') ;;
    --quick) quick=yes ;;
    -h | --help) usage && return ;;
    *) usage >&2 && exit 2 ;;
  esac
  trap on_exit EXIT
  use_ccache
  begin_section "Packages"
  # xz unpacks a test's tokenizer; lavapipe is a Vulkan device that needs no GPU.
  local packages=("${build_packages[@]}" xz-utils "${vulkan_packages[@]}" mesa-vulkan-drivers
    vulkan-validationlayers)
  [[ $quick == yes ]] || packages+=(clang clang-tidy libclang-rt-dev)
  install_packages "${packages[@]}"
  check_with_gcc
  if [[ $quick == no ]]; then
    check_with_sanitizers
    check_with_clang
    check_presets
  fi
  end_section
  heading "All checks done in $SECONDS s"
  say "$passed passed, 0 failed"
}

main "$@"
