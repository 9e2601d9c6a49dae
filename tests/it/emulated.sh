#!/bin/bash
# emulated.sh KVMCHECK MICA: a few whole-guest tests straight on a /dev/kvm that interprets kernel code, with the emulated
# kernel flavour. TAP; a clear skip on every other machine.
set -u
here=$(dirname "$(readlink -f "$0")")
said=$(timeout 10 "$1")
[ $? = 1 ] || { echo "1..0 # SKIP this machine's KVM is not of that kind ($said)"; exit 0; }
echo "# whole-guest tests straight on /dev/kvm, emulated flavour: $said"
ns=(unshare --net --mount --pid --fork --mount-proc --kill-child)
[ "$(id -u)" = 0 ] || ns=(unshare --map-root-user "${ns[@]:1}")
exec "${ns[@]}" sh -c 'ip link set lo up; exec python3 "$@"' sh "$here/suite.py" "$2" emulated
