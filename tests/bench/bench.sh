#!/bin/bash
# bench.sh BUILD: the figures of `make bench`: tests/bench/bench.py on this machine's /dev/kvm as far as that goes, and in
# the rig; the API's by api.py; then the sizes of the programs. In the rig time is an emulated CPU's: compare the two columns, not the figures
# with another machine's. BENCH_ICOUNT=0 adds a run on the rig's deterministic clock (1 ns = 1 instruction; minutes): exits per MiB of the network
# are to be read there. Elsewhere in the rig a packet of 64 KiB takes milliseconds, and half of the exits are the timer's.
set -u
here=$(dirname "$(readlink -f "$0")")
build=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/mica-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cp "$build/bin/vmm" "$build/tests/bench/firstrun" "$build/tests/bench/nettool" "$here/bench.py" "$here/net.py" "$here/blk.py" "$here/../guest/vmmctl.py" "$here/../it/agent_wire.py" \
	"$dir/" || exit 1
cp "$build/tests/bench/fio" "$dir/" && truncate -s 320M "$dir/blk.ext4" && /sbin/mke2fs -q -F -t ext4 -b 4096 -O ^has_journal "$dir/blk.ext4" || exit 1
cp "$build/mica" "$here/image.py" "$here/../it/world.py" "$here/../it/client.py" "$dir/" || exit 1
cp "$build/kernel/min/vmlinux" "$dir/vmlinux" && cp --sparse=always "$build/image/min.ext4" "$dir/min.ext4" || exit 1

echo "== the API, on this machine (VM processes made up)"
rc=0
timeout 100 python3 "$here/api.py" "$build/bin" || rc=1
echo "== disks of VMs over stored images (VM processes made up)"
timeout 300 python3 "$here/disk.py" "$build/bin/core" || rc=1
echo "== the disk's back end, no guest, on this machine"
timeout 200 python3 "$here/back.py" "$build/tests/bench/blkback" || rc=1
eval "$("$here/../rig/probe.sh" "$build/tests/rig/kvmcheck" "$build/mica" | sed "s/'/'\\\\''/g; s/=\(.*\)/='\1'/")"
echo "== this machine: $why"
mkdir "$dir/here"
cp -al "$dir"/[!h]* "$dir/here/" 2>/dev/null
if [ "$route" = direct ]; then
	# the part net makes a tap and an address: in a network namespace of its own, which takes root
	(cd "$dir/here" && timeout 900 python3 bench.py start boot blk && if [ "$(id -u)" = 0 ]; then timeout 600 unshare -n python3 bench.py net && timeout 300 unshare -n python3 image.py ./mica; fi) || rc=1
elif [ "$emulated" = yes ]; then
	echo "   start-up only: guests do not boot at speed on it"
	(cd "$dir/here" && timeout 900 python3 bench.py start) || rc=1
fi
rm -rf "$dir/here"
if "$here/../rig/setup.sh" >/dev/null; then
	echo "== in the rig (QEMU's TCG with SVM)"
	"$here/../rig/rig.sh" -w -m 2048 -t 1800 -d "$dir" -- 'BENCH_NO_STEPS=1 BENCH_RUNS=7 python3 bench.py start boot net; python3 image.py ./mica' || rc=1
	echo "== disks in the rig, -icount shift=0: a CPU second is a thousand million instructions, whatever else this machine does"
	"$here/../rig/rig.sh" -I 0 -m 2048 -t 1800 -d "$dir" -- 'BENCH_BLK_MIB=64 BENCH_BLK_ROUNDS=1 python3 bench.py blk' || rc=1
	if [ -n "${BENCH_ICOUNT:-}" ]; then
		echo "== in the rig, -icount shift=$BENCH_ICOUNT: a clock that counts instructions"
		"$here/../rig/rig.sh" -I "$BENCH_ICOUNT" -m 1536 -t 1800 -d "$dir" -- 'BENCH_NO_STEPS=1 BENCH_RUNS=3 BENCH_NET_MIB=16 BENCH_NET_ROUNDS=1 BENCH_NET_ASKS=100 python3 bench.py start boot net' || rc=1
	fi
fi
echo "== system calls allowed, per process and kind of thread (aims: vCPU 10, I/O 14)"
"$here/../../tools/walls" list | cut -c1-15
echo "== the cage, on this machine"
timeout 100 python3 "$here/cage.py" "$build/bin/jail" "$build/bin/vmm" || rc=1
echo "== sizes in bytes"
for f in "$build"/bin/* "$build"/guest/* "$build/kernel/min/vmlinux" "$build/image/min.ext4" "$build/mica"; do
	[ -f "$f" ] && printf '%10d  %s\n' "$(stat -c %s "$f")" "${f#"$build"/}"
done
exit $rc
