#!/bin/bash
# probe.sh KVMCHECK [MICA]: which way whole-guest tests go on this machine. Prints three lines:
#   route=direct|nested|none    direct: this /dev/kvm boots the kernel at speed; nested: in the rig's L1; none: a skip
#   emulated=yes|no             a /dev/kvm that interprets kernel code: the emulated kernel flavour can be tried on it as well
#   why=SENTENCE
# KVMCHECK is the program from tests/rig/kvmcheck.c. With MICA (the one-file program) a guest is really booted, 20 s at
# most, before the answer is "direct". MICA_TEST_ROUTE=direct|nested|none decides without a probe.
set -u
here=$(dirname "$(readlink -f "$0")")
kvmcheck=$1 mica=${2:-}
emulated=no why=

answer() { printf 'route=%s\nemulated=%s\nwhy=%s\n' "$1" "$emulated" "$why"; exit 0; }

look_at_kvm() { # sets why; 0 when it can be used directly
	local said rc start
	if [ ! -e /dev/kvm ]; then why="there is no /dev/kvm"; return 1; fi
	if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then why="no permission on /dev/kvm (join its group)"; return 1; fi
	said=$(timeout 10 "$kvmcheck")
	rc=$?
	if [ $rc = 1 ]; then
		emulated=yes
		why="this /dev/kvm runs guests but interprets their kernel code ($said)"
		return 1
	elif [ $rc != 0 ]; then
		why="this /dev/kvm runs nothing ($said)"
		return 1
	fi
	if [ -x "$mica" ]; then
		start=$(date +%s%N)
		if ! timeout -k 2 20 "$mica" run -- true >/dev/null 2>&1; then why="a guest did not come up in 20 s on this /dev/kvm"; return 1; fi
		why="a guest booted and ran a command in $((($(date +%s%N) - start) / 1000000)) ms on this /dev/kvm"
	else
		why="this /dev/kvm runs kernel code as hardware does (no mica to boot a guest with)"
	fi
}

if [ -n "${MICA_TEST_ROUTE:-}" ]; then
	why="MICA_TEST_ROUTE says so"
	timeout 10 "$kvmcheck" >/dev/null; [ $? = 1 ] && emulated=yes
	answer "$MICA_TEST_ROUTE"
fi
look_at_kvm && answer direct
said=$("$here/setup.sh" 2>&1 >/dev/null)
case $? in
	0) why="$why; the rig boots one with SVM in QEMU"; answer nested ;;
	*) why="$why; and $(printf '%s' "$said" | tail -n 1)"; answer none ;;
esac
