#!/bin/bash
# rig.sh [options] -- COMMAND...: boot L1, a Debian kernel in QEMU's emulated AMD CPU with SVM, so that there is a real
# /dev/kvm; put a folder in, run COMMAND (one shell line, as root, in /job) there, stream its output, return its exit status.
#   -d DIR    host folder whose contents appear in /job (a copy)
#   -o DIR    gets what the command left in /job/out
#   -t SEC    wall limit of the whole run (default 300); exit 124 when it is hit
#   -m MIB    memory of L1 (default 2048)
#   -I SHIFT  deterministic clock: -icount shift=SHIFT, everything in the initramfs, no disks, so no -o and no -w
#   -w        warm start: from a state saved by the first such run (keyed on QEMU, kernel, images, flags)
#   -L FILE   keep L1's console log
# RIG_MONITOR=unix:PATH,server=on,wait=off gives QEMU's monitor for a look at an L1 that hangs.
# L1 has one CPU (TCG with two hangs now and then), busybox, python3, curl, ip, strace, qemu-system-x86_64 and no network.
# Exit: the command's own; 2 usage; 77 no rig here (setup.sh says why); 124 time limit; 125 L1 died.
set -u
here=$(dirname "$(readlink -f "$0")")
dir= odir= lim=300 mem=2048 ic= warm= log=
while getopts d:o:t:m:I:wL: o; do case $o in
	d) dir=$OPTARG ;; o) odir=$OPTARG ;; t) lim=$OPTARG ;; m) mem=$OPTARG ;; I) ic=$OPTARG ;; w) warm=1 ;; L) log=$OPTARG ;;
	*) exit 2 ;;
esac; done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "usage: rig.sh [-d DIR] [-o OUTDIR] [-t SEC] [-m MIB] [-I SHIFT] [-w] [-L FILE] -- COMMAND" >&2; exit 2; }
[ -z "$ic" ] || [ -z "$warm$odir" ] || { echo "rig: -I goes with neither -w nor -o" >&2; exit 2; }
base=$("$here/setup.sh") || exit $?

tmp=$(mktemp -d "${TMPDIR:-/tmp}/rig.XXXXXX")
qpid= cpid= wpid=
finish() { [ -z "$wpid" ] || kill "$wpid" 2>/dev/null; [ -z "$qpid" ] || kill "$qpid" 2>/dev/null; [ -z "$cpid" ] || kill "$cpid" 2>/dev/null; rm -rf "$tmp"; }
trap finish EXIT
trap 'exit 143' TERM INT HUP

# -- what goes in
mkdir "$tmp/x"
printf '%s\n' "$*" >"$tmp/x/.cmd"
if [ -n "$dir" ]; then
	tar cSf "$tmp/in.tar" -C "$dir" --owner=0 --group=0 --exclude=./.cmd . && tar rf "$tmp/in.tar" -C "$tmp/x" --owner=0 --group=0 ./.cmd || exit 125
else
	tar cf "$tmp/in.tar" -C "$tmp/x" .
fi
initrd=$base/l1.cpio
disks=()
if [ -n "$ic" ]; then
	{ cat "$base/l1.cpio" "$base/root.cpio"; (cd "$tmp" && echo in.tar | cpio -o -H newc --quiet --reproducible --owner=0:0); } >"$tmp/l1.cpio"
	initrd=$tmp/l1.cpio
	accel=(-accel tcg -icount "shift=$ic,sleep=off" -seed 1 -rtc base=2024-01-01,clock=vm)
else
	blocks=$((($(stat -c %s "$tmp/in.tar") + 65535) / 65536))
	{ echo "$blocks $(date +%s)"; head -c 65536 /dev/zero; } | head -c 65536 >"$tmp/in.img"
	cat "$tmp/in.tar" >>"$tmp/in.img"
	# Fixed sizes: a warm state knows its disks' sizes.
	truncate -s 2G "$tmp/in.img"
	truncate -s 512M "$tmp/out.img"
	disks=(-drive "if=none,id=root,file=$base/root.img,format=raw,readonly=on" -device virtio-blk-pci,drive=root
		-drive "if=none,id=in,file=$tmp/in.img,format=raw,readonly=on" -device virtio-blk-pci,drive=in
		-drive "if=none,id=out,file=$tmp/out.img,format=raw,cache=unsafe" -device virtio-blk-pci,drive=out)
	accel=(-accel "tcg,thread=single")
fi
rm -f "$tmp/in.tar"

# -- the machine. 7.2's CPUID leaf 0xD does not follow the guest's XCR0, hence -xsave,-avx.
machine=(-nodefaults -display none -no-reboot -machine q35 "${accel[@]}" -cpu EPYC,+svm,+npt,-xsave,-avx -m "$mem" -smp 1)
append="console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off random.trust_cpu=on nokaslr"
[ -z "$warm" ] || append="$append rig.wait"
mkfifo "$tmp/stdout" "$tmp/go"
exec 9<>"$tmp/go" # what L1 reads from its serial port; held open so that it never sees an end
start_qemu() { # CONSOLE_FILE SECONDS more arguments...
	local con=$1 sec=$2
	shift 2
	timeout -k 5 "$sec" qemu-system-x86_64 "${machine[@]}" -kernel "$base/vmlinux" -initrd "$initrd" -append "$append" \
		-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
		-device "virtio-serial-pci${ic:+,ioeventfd=off}" -device virtserialport,chardev=so,name=out \
		"${disks[@]}" -chardev stdio,id=con,signal=off -serial chardev:con "$@" <&9 >"$con" 2>"$tmp/qemu.log" &
	qpid=$!
}
[ -z "$ic" ] || append="$append random.trust_bootloader=on"

# -- the warm state: boot to L1-READY, stop, save
if [ -n "$warm" ]; then
	key=$({ cat "$0"; cat "$base/ready"; stat -L -c '%s %Y' "$(command -v qemu-system-x86_64)"; echo "${machine[*]} $append"; } | sha256sum | cut -c1-16)
	state=$base/warm-$key
	exec 7>"$base/warm.lock"
	flock -w "$lim" 7
	if [ ! -s "$state" ]; then
		echo "rig: making a warm state" >&2
		start_qemu "$tmp/wcon" 120 -chardev null,id=so -monitor "unix:$tmp/mon,server=on,wait=off"
		python3 "$here/warm.py" "$tmp/wcon" "$tmp/mon" "$state" || { cat "$tmp/wcon" "$tmp/qemu.log" >&2; exit 125; }
		wait "$qpid"
		qpid=
		ls -t "$base"/warm-* | tail -n +5 | xargs -r rm -f
	fi
	exec 7>&-
fi

# -- the run
cat "$tmp/stdout" &
cpid=$!
more=()
if [ -n "$warm" ]; then
	echo go >&9
	more=(-incoming "exec:cat $state")
fi
start_qemu "$tmp/con" "$lim" -chardev "file,id=so,path=$tmp/stdout" -monitor "${RIG_MONITOR:-none}" "${more[@]}"
# QEMU 7.2's SVM code clears a bit of a word that its timer thread sets bits in, without a lock: now and then L1's timer
# interrupt is lost and, being one-shot, never comes back. Any other interrupt makes the APIC look again, so a byte on the
# serial port every second bounds the loss. Not on the deterministic clock.
if [ -z "$ic" ]; then
	while sleep 1; do echo >&9; done &
	wpid=$!
fi
wait "$qpid"
qrc=$?
qpid=
[ -z "$wpid" ] || kill "$wpid" 2>/dev/null
wpid=
exec 6<>"$tmp/stdout" 6>&- # lets go of a cat whose fifo QEMU never opened
wait "$cpid"
cpid=
[ -z "$log" ] || cp "$tmp/con" "$log"
[ -z "$odir" ] || { mkdir -p "$odir" && tar xf "$tmp/out.img" -C "$odir" 2>/dev/null; }
rc=$(tr -d '\r' <"$tmp/con" | sed -n 's/.*L1-EXIT rc=\([0-9]*\).*/\1/p' | tail -1)
[ "$qrc" != 124 ] && [ "$qrc" != 137 ] || { echo "rig: time limit of $lim s" >&2; tail -n 5 "$tmp/con" >&2; exit 124; }
[ -n "$rc" ] || { echo "rig: L1 died (qemu status $qrc)" >&2; tail -n 20 "$tmp/con" "$tmp/qemu.log" >&2; exit 125; }
exit "$rc"
