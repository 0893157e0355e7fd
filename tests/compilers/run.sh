#!/bin/bash
# SPDX-License-Identifier: MIT
# Compiles all of the project with the newest compilers that Debian packages, warnings as errors. They
# live in a folder of their own, which is left by chroot: nothing of this system is changed.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)

usage() {
  cat <<'USAGE'
usage: tests/compilers/run.sh [--work FOLDER] [--suite SUITE] [--mirror URI] [COMPILER...]

  COMPILER       g++-N or clang++-N; without any, the newest of each
  --work FOLDER  where to install and build (build/compilers); it may be deleted at any time
  --suite SUITE  of Debian, from which they come (sid)
  --mirror URI   a mirror of Debian; by default the one that apt-get here uses

Needs root and debootstrap. A build takes some five minutes on two CPUs. Exit code 0: all compiled without
a warning.
USAGE
}
say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'tests/compilers/run.sh: %s\n' "$*" >&2
  exit 1
}

work=$project/build/compilers
suite=sid
mirror=
compilers=()
while [ $# -gt 0 ]; do
  case $1 in
    --work | --suite | --mirror)
      [ $# -gt 1 ] || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) compilers+=("$1") ;;
  esac
  shift
done
[ "$(id -u)" -eq 0 ] || fail 'needs root'
"$project/cmake/quickstart.sh" install debootstrap
mkdir -p "$work"
root=$(realpath "$work")/$suite

# inside COMMAND...: in the other system, with a /proc that goes when it ends.
inside() {
  unshare --mount --pid --fork --mount-proc="$root/proc" \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive chroot "$root" "$@" </dev/null
}

if [ ! -e "$root/.complete" ]; then
  # shellcheck disable=SC2016  # apt-get's own
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Component: main' | grep -v security | head -n 1)
  [ -n "$mirror" ] || fail 'apt-get here has no mirror of Debian; name one with --mirror'
  say "installing $suite"
  rm -rf "$root"
  debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$work/$suite.log" 2>&1 ||
    fail "see $work/$suite.log"
  # How to reach the mirror: proxies and the like.
  cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
  touch "$root/.complete"
fi
inside apt-get update -qq

# newest NAME: of the packages NAME-1, NAME-2 and so on
newest() {
  inside apt-cache search --names-only "^$1-[0-9]+$" | awk '{ print $1 }' | sort -V | tail -n 1
}
if [ ${#compilers[@]} -eq 0 ]; then
  compilers=("$(newest 'g\+\+')" "$(newest clang | sed 's/clang/clang++/')")
fi
say "installing ${compilers[*]} and what the project needs"
inside apt-get install -y -qq --no-install-recommends "${compilers[@]/clang++/clang}" g++ cmake \
  ninja-build pkg-config libxxhash-dev libfmt-dev libgtest-dev libbenchmark-dev libcli11-dev >"$work/$suite.log" 2>&1 ||
  fail "see $work/$suite.log"

rm -rf "$root/uffd"
mkdir "$root/uffd"
(cd "$project" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null --ignore-failed-read -T -) | tar -x -C "$root/uffd"
status=0
for compiler in "${compilers[@]}"; do
  case $compiler in
    clang*) c_compiler=${compiler/clang++/clang} ;;
    *) c_compiler=${compiler/g++/gcc} ;;
  esac
  log=$work/$compiler.log
  say "building with $(inside "$compiler" --version | head -n 1)"
  if inside cmake -S /uffd -B "/build/$compiler" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_C_COMPILER="$c_compiler" -DUFFDPP_WERROR=ON \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DUFFDPP_BUILD_DOCS=OFF >"$log" 2>&1 &&
    inside cmake --build "/build/$compiler" --target all headers_alone -- -k 0 >>"$log" 2>&1; then
    say 'no warning'
  else
    grep -E '(warning|error):' "$log" | sort | uniq -c | sort -rn | head -n 20 || true
    say "failed, see $log"
    status=1
  fi
done
exit $status
