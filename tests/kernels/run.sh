#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the test programs on other kernels and processors: linked statically, in an initramfs, booted by
# QEMU's software emulation. Kernels and libraries are packages of Debian that are only unpacked.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$(dirname "$here")")
cd "$project"

usage() {
  cat <<'USAGE'
usage: tests/kernels/run.sh [--work FOLDER] [--filter PATTERN] [--mirror URI] [KERNEL...]
       tests/kernels/run.sh --list | --table

  KERNEL            as in tests/kernels/kernels.txt; without any, all of them run, and
                    tests/kernels/results.md is written anew
  --work FOLDER     where to download and build (build/kernels); it may be deleted at any time
  --filter PATTERN  which tests to run, as GoogleTest's --gtest_filter
  --mirror URI      a mirror of Debian; by default the one that apt-get here uses
  --list            only name the kernels
  --table           only print the table of what FOLDER has the logs of

A kernel takes some ten minutes. Needs apt-get and dpkg-deb, but no root; QEMU and compilers are installed
where they are missing, which does need it. Exit code 0: every kernel came to its end, and no test failed.
USAGE
}
say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'tests/kernels/run.sh: %s\n' "$*" >&2
  exit 1
}

work=$project/build/kernels
filter='*'
mirror=
only=
kernels=()
while [ $# -gt 0 ]; do
  case $1 in
    --work | --filter | --mirror)
      [ $# -gt 1 ] || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift
      ;;
    --list | --table) only=${1#--} ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) kernels+=("$1") ;;
  esac
  shift
done

# entry NAME: "SUITE PACKAGES" of kernels.txt
entry() { awk -v name="$1" '$1 == name { print $2, $3 }' "$here/kernels.txt"; }
all_kernels() { awk '/^[^#]/ { print $1 }' "$here/kernels.txt"; }
# What Debian calls the processor of a kernel.
architecture() {
  case $1 in
    x86_64*) echo amd64 ;;
    aarch64*) echo arm64 ;;
    *) fail "no kernel is called $1; see --list" ;;
  esac
}

# --- packages: by an apt of our own, which knows nothing of what is installed ---
libraries_suite=bookworm
libraries='libxxhash-dev libgtest-dev libfmt-dev libfmt9 libcli11-dev busybox-static'

prepare_apt() {
  local apt=$work/apt suite
  # shellcheck disable=SC2016  # apt-get's own
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Component: main' | grep -v security | head -n 1)
  [ -n "$mirror" ] || fail "apt-get here has no mirror of Debian; name one with --mirror"
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -e "$keys" ] || fail "$keys is missing (package debian-archive-keyring)"

  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/none" "$work/packages"
  : >"$apt/status"
  cat >"$apt/apt.conf" <<CONF
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::State::extended_states "$apt/extended_states";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/none";
Dir::Etc::preferences "$apt/none/preferences";
Dir::Etc::preferencesparts "$apt/none";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
CONF
  {
    echo $libraries_suite
    awk '/^[^#]/ { print $2 }' "$here/kernels.txt"
  } | sort -u | while read -r suite; do
    echo "deb [signed-by=$keys] $mirror $suite main"
  done >"$apt/sources.list"
  export APT_CONFIG=$apt/apt.conf
  say 'reading the lists of packages'
  apt-get update -qq
}

# unpack NAME ARCHITECTURE SUITE FOLDER [FILES]: the package, or only those files of it
unpack() {
  local stamp=$4/.$1.$3
  [ ! -e "$stamp" ] || return 0
  say "downloading $1 ($2)"
  # What is the same for all processors is not called by theirs.
  (cd "$work/packages" && { apt-get download -qq "$1:$2/$3" 2>/dev/null || apt-get download -qq "$1/$3"; })
  mkdir -p "$4"
  local package
  package=$(find "$work/packages" -name "$1_*_$2.deb" -o -name "$1_*_all.deb" | sort -V | tail -n 1)
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$4" --wildcards "${5-*}"
  touch "$stamp"
}

# fetch_kernel NAME: to $work/NAME/vmlinuz
fetch_kernel() {
  local suite pattern package='' each
  read -r suite pattern <<<"$(entry "$1")"
  [ -n "$pattern" ] || fail "no kernel is called $1; see --list"
  while read -r each; do
    # shellcheck disable=SC2053  # a pattern
    [[ $each != $pattern ]] || package=$each
  done < <(apt-cache search --names-only '^linux-(image|binary)-' | awk '{ print $1 }' | sort -V)
  [ -n "$package" ] || fail "no package is called $pattern any more; see tests/kernels/kernels.txt"
  unpack "$package" "$(architecture "$1")" "$suite" "$work/$1/$package" '*/vmlinuz*'
  find "$work/$1/$package" -name 'vmlinuz*' -exec cp {} "$work/$1/vmlinuz" \;
}

# --- programs ---
# build PROCESSOR: the test programs in $work/PROCESSOR/build, all in $work/PROCESSOR/initramfs
build() {
  local folder=$work/$1 package program
  local root=$folder/root system=$folder/initramfs
  for package in $libraries; do
    unpack "$package" "$(architecture "$1")" $libraries_suite "$root"
  done
  say "building for $1"
  # muldefs: a test takes the place of malloc, of which a static program has glibc's already.
  cmake -S . -B "$folder/build" -G Ninja --no-warn-unused-cli \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$1" \
    -DCMAKE_CXX_COMPILER="$1-linux-gnu-g++" -DCMAKE_FIND_ROOT_PATH="$root" \
    -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1 \
    -DCMAKE_EXE_LINKER_FLAGS='-static -Wl,-z,muldefs' \
    -DUFFDPP_TEST_TIMEOUT=400 -DUFFDPP_WERROR=ON -DUFFDPP_INSTALL=OFF -DUFFDPP_BUILD_DOCS=OFF \
    -DUFFDPP_BUILD_EXAMPLES=OFF -DUFFDPP_BUILD_BENCHMARKS=OFF >"$folder/build.log" ||
    fail "see $folder/build.log"
  cmake --build "$folder/build" >>"$folder/build.log" 2>&1 || fail "see $folder/build.log"

  rm -rf "$system"
  mkdir -p "$system/tests" "$system/bin"
  cp "$root/bin/busybox" "$system/bin"
  install -m 755 "$here/init.sh" "$system/init"
  "$1-linux-gnu-g++" -std=c++20 -O1 -static -DFMT_HEADER_ONLY -Iinclude -isystem "$root/usr/include" \
    examples/kernel_support.cpp -o "$system/bin/kernel_support"
  find "$folder/build/tests" -type f -perm -u+x \( -name '*_test' -o -name chaos \) |
    while read -r program; do
      "$1-linux-gnu-strip" -o "$system/tests/${program##*/}" "$program"
    done
}

# --- machines ---
seconds_at_most=7200

# boot NAME: its console to $work/NAME/log
boot() {
  local folder=$work/$1 processor=${1%%-*} machine console
  cp -r "$work/$processor/initramfs" "$folder/initramfs"
  printf '%s\n' "$filter" >"$folder/initramfs/filter"
  (cd "$folder/initramfs" && find . | cpio -o -H newc -R 0:0 --quiet >"$folder/initrd")
  rm -rf "$folder/initramfs"
  truncate -s 256M "$folder/swap"
  case $processor in
    # Without cx16: QEMU 7.2 corrupts the flags that cmpxchg16b leaves, and Linux 6.12 crashes.
    # Nor do timers tick as the kernel expects them to on a busy host: it would panic at its start.
    x86_64) machine='-cpu max,cx16=off' console='ttyS0 no_timer_check' ;;
    aarch64) machine='-machine virt -cpu neoverse-n1' console=ttyAMA0 ;;
  esac
  say "booting $1"
  # Only what ends the kernel is printed between the lines of the tests; init.sh tells of the rest.
  # shellcheck disable=SC2086  # words
  timeout $seconds_at_most "qemu-system-$processor" $machine -accel tcg -m 2048 -smp 2 \
    -display none -monitor none -serial stdio -nic none -no-reboot \
    -drive if=none,id=swap,format=raw,file="$folder/swap" -device nvme,drive=swap,serial=swap \
    -kernel "$folder/vmlinuz" -initrd "$folder/initrd" \
    -append "console=$console loglevel=1 panic=-1" </dev/null >"$folder/log" 2>&1 || true
  sed -i 's/\r$//' "$folder/log"
  rm -f "$folder/swap" "$folder/initrd"
  awk -f "$here/results.awk" -v summary=1 "$folder/log"
}

# table: of all kernels that have a log
table() {
  local logs=() each
  for each in $(all_kernels); do
    [ ! -e "$work/$each/log" ] || logs+=("$work/$each/log")
  done
  [ ${#logs[@]} -gt 0 ] || fail "no kernel has run in $work"
  awk -f "$here/results.awk" "${logs[@]}"
}

case $only in
  list) all_kernels && exit 0 ;;
  table) table && exit 0 ;;
esac

results=
if [ ${#kernels[@]} -eq 0 ]; then
  mapfile -t kernels < <(all_kernels)
  results=$here/results.md
fi
processors=$(printf '%s\n' "${kernels[@]%%-*}" | sort -u)
needed=(cmake ninja-build cpio)
for processor in $processors; do
  case $processor in
    x86_64) needed+=(qemu-system-x86) ;;
    aarch64) needed+=(qemu-system-arm) ;;
  esac
  [ "$processor" = "$(uname -m)" ] && needed+=(g++) || needed+=("g++-${processor/_/-}-linux-gnu")
done
cmake/quickstart.sh install "${needed[@]}"
mkdir -p "$work"
prepare_apt
for processor in $processors; do build "$processor"; done
status=0
for kernel in "${kernels[@]}"; do
  fetch_kernel "$kernel"
  boot "$kernel" || status=1
done
[ -z "$results" ] || table >"$results"
exit $status
