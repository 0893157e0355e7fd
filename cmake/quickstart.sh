#!/bin/sh
# SPDX-License-Identifier: MIT
# From a fresh checkout to something that runs. Where there is apt-get, it installs what is missing.
set -eu
cd "$(dirname "$0")/.."

usage() {
  cat <<'USAGE'
usage: cmake/quickstart.sh demo|test|bench
       cmake/quickstart.sh install PACKAGE...

  demo     build the demand paging example and run it
  test     build and run the tests (preset dev)
  bench    build and run the benchmarks, write a report
  install  only install Debian packages that are missing

Packages are those of Debian 12, Ubuntu 24.04 and newer.
UFFDPP_WERROR=ON makes warnings errors in `test`.
USAGE
}

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

# Is it there, whatever it was installed by?
present() {
  case "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null || true)" in ii*) return 0 ;; esac
  case $1 in
    ninja-build) command -v ninja ;;
    gnuplot-nox) command -v gnuplot ;;
    libfmt-dev) has_header fmt/core.h ;;
    libgtest-dev) has_header gtest/gtest.h ;;
    libbenchmark-dev) has_header benchmark/benchmark.h ;;
    libcli11-dev) has_header CLI/CLI.hpp ;;
    libzstd-dev) has_header zstd.h ;;
    libxxhash-dev) has_header xxhash.h ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}
has_header() { echo "#include <$1>" | g++ -std=c++20 -fsyntax-only -x c++ -; }

# needs PROGRAM OLDEST VERSION
needs() {
  [ "$(printf '%s\n' "$2" "$3" | sort -V | head -n 1)" = "$2" ] ||
    fail "$1 $2 or newer is needed, as in Debian 12 and Ubuntu 24.04; $(command -v "$1") is $3"
}
# What is there is new enough. The project needs CMake 3.24, its presets 3.25.
check_versions() {
  ! command -v g++ >/dev/null || needs g++ 12 "$(g++ -dumpversion)"
  ! command -v cmake >/dev/null ||
    needs cmake 3.25 "$(cmake --version | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')"
}

install() {
  check_versions
  missing=
  for package in "$@"; do
    present "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0

  command -v apt-get >/dev/null || fail "please install what these Debian packages hold:$missing"
  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "no root and no sudo; please install:$missing"
    as_root=sudo
    [ -t 0 ] || as_root='sudo -n'
  fi
  say "installing$missing"
  $as_root apt-get update -qq </dev/null
  # Compiler and CMake come first: where they are too old, no more is installed.
  for package in $missing; do
    $as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null
    check_versions
  done
}

# An optimised build of one part in build/$1, without what the part does not need.
build() {
  part=$1
  shift
  say "building build/$part"
  cmake --preset release -B "build/$part" --no-warn-unused-cli -DUFFDPP_WERROR=OFF \
    -DUFFDPP_BUILD_DOCS=OFF -DUFFDPP_BUILD_TESTS=OFF -DUFFDPP_BUILD_EXAMPLES=OFF \
    -DUFFDPP_BUILD_BENCHMARKS=OFF "$@" >/dev/null
}

tools='g++ cmake ninja-build libxxhash-dev libfmt-dev'
# shellcheck disable=SC2086  # a list of words
case ${1-} in
  demo)
    install $tools libcli11-dev
    build demo -DUFFDPP_BUILD_EXAMPLES=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
    cmake --build build/demo --target demand_paging
    say 'running build/demo/examples/demand_paging'
    exec build/demo/examples/demand_paging
    ;;
  test)
    install $tools libgtest-dev libcli11-dev libzstd-dev pkg-config
    say 'configuring, building and testing build/dev'
    # A newer compiler may warn of more: that must not stop who only tries the library.
    cmake --preset dev -DUFFDPP_WERROR="${UFFDPP_WERROR:-OFF}"
    cmake --build --preset dev
    exec ctest --preset dev
    ;;
  bench)
    install $tools libbenchmark-dev gnuplot-nox valgrind strace
    build bench -DUFFDPP_BUILD_BENCHMARKS=ON
    cmake --build build/bench
    say 'running bench/report.sh build/bench'
    exec bench/report.sh build/bench
    ;;
  install)
    shift
    install "$@"
    ;;
  -h | --help | help)
    usage
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
