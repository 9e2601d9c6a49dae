#!/bin/bash
# mainjob.sh MICA: the main job, by the one file, on this machine's /dev/kvm: a daemon reads a host group, a VM is launched, a project
# folder is copied in, a command runs in it, its exit code comes back, the result is copied out, the VM is deleted. Then the same
# without a daemon (`mica run`). The kernel flavour is mica's own choice, by probing. Prints what it does; exit 0 when all of it held.
set -u
mica=$(readlink -f "$1")
here=$(readlink -f "$(dirname "$0")/../..")
t=$(mktemp -d "${TMPDIR:-/tmp}/mica-main.XXXXXX")
up=
finish() {
	if [ -n "$up" ]; then kill "$up" 2>/dev/null; wait "$up" 2>/dev/null; fi
	rm -rf "$t"
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() {
	echo "FAILED: $*" >&2
	sed 's/^/  up: /' "$t/up.log" >&2 2>/dev/null
	exit 1
}
step() { printf '%6.1f s  %s\n' "$(echo "$(date +%s%N) $t0" | awk '{print ($1-$2)/1e9}')" "$*"; }
t0=$(date +%s%N)
export MICA_STATE=$t/state MICA_SOCKET=$t/state/api.sock HOME=$t
cd "$t" || exit 1

# Real input: the sources of this program, and what must come out of them.
mkdir project && cp -r "$here/lib" "$here/cli" project/
(cd project && find . -type f | LC_ALL=C sort | xargs sha256sum) > want

"$mica" new job --count 0 --cpu 2 --ram-mb 512 --storage-size 2G --net none --socket ./mica.sock > mica.yaml || fail "mica new"
"$mica" up > up.log 2>&1 &
up=$!
for _ in $(seq 300); do
	"$mica" info >/dev/null 2>&1 && break
	kill -0 "$up" 2>/dev/null || fail "the daemon ended"
	sleep 0.1
done
"$mica" info >/dev/null || fail "the daemon does not answer"
step "daemon up: $(sed -n 's/^  guests //p' up.log)"

vm=$("$mica" vm launch --wait --timeout 10m | awk '/Hostname:/ { print $2 }') && [ -n "$vm" ] || fail "vm launch"
step "$vm launched"
"$mica" vm cp -r project "$vm:project" || fail "vm cp in"
step "project copied in ($(wc -l < want) files)"
"$mica" vm exec "$vm" --cwd '~/project' -- 'mkdir ../result && find . -type f | LC_ALL=C sort | xargs sha256sum > ../result/sums && ls -R . | wc -l > ../result/lines; exit 42'
code=$?
[ $code = 42 ] || fail "exit code $code instead of 42"
step "command ran, exit code 42 passed through"
"$mica" vm cp -r "$vm:result" . || fail "vm cp out"
cmp want result/sums || fail "the VM saw other bytes than were copied in"
step "result copied out, equal"
"$mica" vm delete "$vm" > /dev/null || fail "vm delete"
[ "$("$mica" vm list -q | wc -l)" = 0 ] || fail "the VM is still listed"
step "VM deleted"
kill "$up" && wait "$up" || fail "the daemon ended with status $?"
up=
step "daemon stopped"

"$mica" run --cp project:project --out result2:result2 -q -- sh -c 'mkdir result2; cd project; find . -type f | LC_ALL=C sort | xargs sha256sum > ../result2/sums; exit 7'
code=$?
[ $code = 7 ] || fail "mica run: exit code $code instead of 7"
cmp want result2/sums || fail "mica run: other bytes came out"
step "the same with mica run, nothing left behind"
echo "main job: done"
