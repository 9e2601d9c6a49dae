#!/bin/bash
# run.sh KVMCHECK MICA [suite options]: whole-guest tests, TAP. tests/rig/probe.sh decides whether they run on this machine's
# /dev/kvm or in the rig; the way taken is the first comment line. Without either: one clear skip.
set -u
here=$(dirname "$(readlink -f "$0")")
kvmcheck=$1 mica=$2
shift 2
eval "$("$here/../rig/probe.sh" "$kvmcheck" "$mica" | sed "s/'/'\\\\''/g; s/=\(.*\)/='\1'/")"
echo "# whole-guest tests: route $route, because $why"
[ -x "$mica" ] || { echo "not ok 1 - $mica is there"; echo 1..1; exit 1; }
case $route in
direct)
	# Bridges and rules stay in a network namespace of their own.
	ns=(unshare --net --mount --pid --fork --mount-proc --kill-child)
	[ "$(id -u)" = 0 ] || ns=(unshare --map-root-user "${ns[@]:1}")
	exec "${ns[@]}" sh -c 'ip link set lo up; exec python3 "$@"' sh "$here/suite.py" -f "$mica" "$@"
	;;
nested)
	dir=$(mktemp -d "${TMPDIR:-/tmp}/mica-run.XXXXXX")
	trap 'rm -rf "$dir"; kill "$pid" 2>/dev/null' EXIT
	trap 'exit 143' TERM INT
	cp "$mica" "$dir/mica"
	cp "$here"/*.py "$dir/"
	cp "$("$here/../rig/setup.sh")/vmlinuz" "$dir/" # a distribution's own kernel, for the cases that boot one
	# huge pages for the VMs: each page that a guest touches first costs a nested fault otherwise, in an emulated CPU
	"$here/../rig/rig.sh" -w -m "${MICA_RIG_MIB:-3072}" -t "${MICA_RIG_SEC:-1380}" -d "$dir" -- "echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled; python3 suite.py ./mica $*" &
	pid=$!
	wait "$pid"
	;;
*)
	echo "1..0 # SKIP $why"
	;;
esac
