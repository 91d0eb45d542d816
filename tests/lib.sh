# shellcheck shell=bash
# What the project's shell scripts share: messages, packages, build settings. Sourced, not run.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' red='' green='' plain=''
fi

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
success() { printf '%s%s%s\n' "$green" "$*" "$plain"; }
complain() { printf '%s%s%s\n' "$red" "$*" "$plain" >&2; }
die() {
  complain "$*"
  exit 1
}

# shellcheck disable=SC2034  # For those who source this.
# Of Debian 12 and 13 and Ubuntu 24.04, under the names that all three have.
build_packages=(cmake ninja-build g++ pkgconf nlohmann-json3-dev libcli11-dev libpcre2-dev
  libutf8proc-dev libxxhash-dev libeigen3-dev doctest-dev)
# shellcheck disable=SC2034
# What the Vulkan backend is built with.
vulkan_packages=(libvulkan-dev glslang-tools spirv-tools)

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# Runs a command as root: with sudo when we are not.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

# Output of a quiet command, shown only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if [[ $status -ne 0 ]]; then cat "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

# Installs those of the named packages that are missing. Touches neither the network nor sudo when
# none is.
install_packages() {
  local missing=() package
  if ! command -v dpkg-query >/dev/null; then
    say "no dpkg here, so nothing is installed; needed are the equivalents of: $*"
    return
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "all $# packages are installed"
    return
  fi
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "packages are missing, and this is neither root nor is there sudo. As root: apt-get install ${missing[*]}"
  fi
  say "installing: ${missing[*]}"
  quietly as_root apt-get update -q || die "apt-get update failed"
  # Recommended packages would bring a gigabyte that nothing here uses.
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    "${missing[@]}" || die "apt-get install failed"
}

# Compilers run through ccache where there is one. Only first configurations of a build folder look.
use_ccache() {
  if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
  fi
}
