#!/bin/bash
# What the build promises: static PIE programs without an interpreter, the same bytes from another folder, clang without a
# warning, includes that go one way.  usage: build.sh O
set -u
O=$1
t=$(mktemp -d "${TMPDIR:-/tmp}/mica-build.XXXXXX")
trap 'rm -rf "$t"' EXIT
n=0 failed=0
check() { # what, then a command that must succeed; its output is shown when it does not
	n=$((n + 1))
	local what=$1; shift
	if "$@" >"$t/log" 2>&1; then echo "ok $n - $what"; else echo "not ok $n - $what"; failed=1; tail -20 "$t/log" | sed 's/^/# /'; fi
}
make_in() { make --no-print-directory -j2 O="$t/$1" "${@:2}"; }
same_bytes() {
	local p
	for p in "$O"/bin/* "$O"/guest/*; do
		cmp "$p" "$t/again/${p#"$O"/}" || return 1
	done
}
libraries() { # the third-party libraries are checked by their own key; here they only need to be there
	mkdir -p "$t/$1/deps" && cp -a "$O"/deps/lib*.a "$O"/deps/yaml "$O"/deps/bearssl "$t/$1/deps/"
}
check 'every program is a static PIE without interpreter or libraries' make --no-print-directory O="$O" check-static
check 'includes go one way' tools/arrows
check 'system calls are those that are written, in comments and in api/THREATS.md' tools/walls check
check 'every kernel option has its reason' tools/kernel-config-check.sh kernel-config/*.config
libraries again && check 'a second build in another folder' make_in again progs
check '  has the same bytes' same_bytes
check '  and makes the same image' eval 'O="$t/again" tools/image.sh && cmp "$O/image/min.ext4" "$t/again/image/min.ext4"'
if command -v clang >/dev/null; then
	libraries clang && check 'clang builds it without a warning' make_in clang CC=clang progs
else
	n=$((n + 1)); echo "ok $n - clang # SKIP no clang here"
fi
echo "1..$n"
exit $failed
