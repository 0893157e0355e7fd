#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# The first process of a kernel that run.sh boots: runs all test programs, and switches the machine
# off. What results.awk reads starts with "==> ".
# shellcheck shell=dash
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp GTEST_COLOR=no
mkdir -p /proc /sys /dev /tmp /etc
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mkdir -p /dev/shm
mount -t tmpfs none /dev/shm
printf '%s\n' root:x:0:0::/:/bin/sh nobody:x:65534:65534::/:/bin/sh >/etc/passwd
ip link set lo up

# What some tests need, and none changes, for it is the whole machine's.
set_up() { { echo "$1" >"$2"; } 2>/dev/null; }
set_up 64 /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
set_up 20 /sys/kernel/mm/ksm/sleep_millisecs
set_up 1 /sys/kernel/mm/ksm/run
{ mkswap /dev/nvme0n1 && swapon /dev/nvme0n1; } >/dev/null 2>&1

# The firmware has left the cursor somewhere.
echo
echo "==> kernel $(uname -r)"
kernel_support | sed 's/^ */==> support /'
cd /tmp || exit 1
for program in /tests/*_test; do
  echo "==> program ${program##*/}"
  timeout -s KILL 3600 "$program" --gtest_filter="$(cat /filter)" </dev/null 2>&1
  echo "==> ended $?"
done
if [ -x /tests/chaos ]; then
  timeout -s KILL 3600 /tests/chaos --seconds 60 </dev/null >/tmp/chaos 2>&1
  code=$?
  cat /tmp/chaos
  echo "==> chaos $code $(tail -n 1 /tmp/chaos)"
fi
dmesg | grep -E 'WARNING:|BUG:|Oops|blocked for more than|Out of memory' | sed 's/^/==> kernel says /'
echo '==> off'
poweroff -f
