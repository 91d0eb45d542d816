#!/usr/bin/env bash
# Checks the CPU backend for 64-bit ARM on an x86 machine: installs Debian's cross compiler and qemu's user emulation, builds
# graph/, ops/, backends/cpu/ and the tests that need only these (tests/aarch64/), every warning an error, and runs them
# emulated, at both levels that ARM has. Not part of tests/run.sh. Emulation says whether results are right, and nothing of speed.
#   tests/aarch64.sh
# Debian 12 or 13 or Ubuntu 24.04, as root or with sudo. The build folder is build/aarch64. Stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/lib.sh
source tests/lib.sh

[[ $# -eq 0 ]] || { sed -n '2,6s/^# \{0,1\}//p' tests/aarch64.sh && exit 2; } >&2
use_ccache
heading "Packages"
install_packages cmake ninja-build doctest-dev g++-aarch64-linux-gnu qemu-user
heading "Building for 64-bit ARM"
quietly cmake -S tests/aarch64 -B build/aarch64 -G Ninja --toolchain toolchain.cmake
quietly cmake --build build/aarch64
heading "Running emulated"
ctest --test-dir build/aarch64 --parallel "$(nproc)" --output-on-failure --no-tests=error
heading "Done in $SECONDS s"
