#!/bin/sh
# kernel.sh [-c] FLAVOUR: build the guest kernel of that flavour (min, emulated, full) as $O/kernel/FLAVOUR/vmlinux, with its
# full configuration beside it as `config`. -c: only if the cache has it, else nothing is built and the status is 3.
#
# The result is kept in $MICA_CACHE/kernel/KEY (in $O/kernel/cache where there is no writable cache) and taken from there
# while the key is the same: source, configuration fragments, patches, compiler, linker and this recipe. The build is
# reproducible: no time, user, host or path of this machine is in the file.
set -eu
cached=
[ "$1" != -c ] || { cached=1; shift; }
flavour=$1
here=$(cd "$(dirname "$0")" && pwd)
O=${O:-build}
mkdir -p "$O/kernel"
O=$(cd "$O" && pwd)
conf=$here/../kernel-config
cc=${KERNEL_CC:-gcc}
recipe=1
cache=${MICA_CACHE:-${HOME:-/nonexistent}/.cache/mica}/kernel
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || cache=$O/kernel/cache
log=$O/kernel/$flavour.log

die() {
	echo "error: $1" >&2
	[ -z "${2:-}" ] || echo "fix: $2" >&2
	exit 1
}
# fragment FILE: its options without reasons
fragment() { sed -E 's/[[:space:]]+#.*$//; /^#/d; /^$/d' "$1"; }
# Later fragments override earlier ones: keep the last line of an option.
fragments() {
	fragment "$conf/min.config"
	[ "$flavour" = min ] || fragment "$conf/$flavour.config"
}
merged() { fragments | awk -F= '{ if (!($1 in v)) n[++c] = $1; v[$1] = $0 } END { for (i = 1; i <= c; i++) print v[n[i]] }'; }

[ -f "$conf/$flavour.config" ] || die "no kernel flavour '$flavour' (there is no kernel-config/$flavour.config)"
# min.patch belongs to every flavour, a flavour's own comes on top if it has one
patches=$conf/min.patch
[ "$flavour" = min ] || [ ! -f "$conf/$flavour.patch" ] || patches="$patches $conf/$flavour.patch"

# The identity of the source without unpacking it, if the recorded tarball will be used.
if [ -n "${LINUX_SRC:-}" ] || [ -n "${ACCEPT_NEWER:-}" ]; then
	O=$O "$here/fetch-source.sh" linux
	id=$(cat "$O/src/linux.id")
else
	id=$(awk '$1 == "linux" { print $6 }' "$here/sources.sha256")
fi
# BTF (the types of the kernel for BPF programs) is made by pahole.
btf=
! merged | grep -qx CONFIG_DEBUG_INFO_BTF=y || btf=pahole
key=$({ echo "$recipe $flavour $id"; merged; cat $patches; "$cc" --version | head -n 1; ld --version | head -n 1; [ -z "$btf" ] || $btf --version 2>&1; } | sha256sum | cut -c1-32)

install_from() {
	mkdir -p "$O/kernel/$flavour"
	cmp -s "$1/vmlinux" "$O/kernel/$flavour/vmlinux" || { cp "$1/vmlinux" "$O/kernel/$flavour/.v" && mv "$O/kernel/$flavour/.v" "$O/kernel/$flavour/vmlinux"; }
	cp "$1/config" "$O/kernel/$flavour/config"
	touch "$O/kernel/$flavour/vmlinux"
}
from_cache() {
	for c in "$cache" "$O/kernel/cache"; do
		if [ -f "$c/$key/vmlinux" ] && [ -f "$c/$key/config" ]; then
			install_from "$c/$key"
			exit 0
		fi
	done
}
from_cache
[ -z "$cached" ] || exit 3
# Two builds that want the same kernel: the second waits and finds the first one's result.
mkdir -p "$cache"
exec 9> "$cache/.lock-$flavour"
flock -n 9 || { echo "kernel: another build makes $flavour, waiting for it" >&2; flock 9; from_cache; }

"$here/kernel-config-check.sh" "$conf/min.config" "$conf/$flavour.config"
for tool in "$cc" ld flex bison bc make perl patch $btf; do
	command -v "$tool" >/dev/null || die "$tool is needed to build the kernel" "make deps"
done
O=$O "$here/fetch-source.sh" linux
src=$(cd "$O/src/linux" && pwd -P)
work=$(mktemp -d "$O/kernel/.$flavour.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
# A patched tree of links: `patch` replaces the files it changes, so the original stays as it is.
cp -al "$src" "$work/src" 2>/dev/null || { rm -rf "$work/src"; cp -a "$src" "$work/src"; }
for p in $patches; do
	patch -d "$work/src" -p1 -s -F0 --no-backup-if-mismatch < "$p" ||
		die "$(basename "$p") does not apply to this source" "use the recorded linux source, or adapt kernel-config/$(basename "$p")"
done
src=$work/src
jobs=${JOBS:-$(nproc)}
merged > "$work/fragment"
# With several threads pahole numbers the types as they happen to come: one thread, so that two builds give the same bytes.
cat > "$work/pahole" <<-'END'
	#!/bin/sh
	for arg do
		shift
		case $arg in -j*) ;; *) set -- "$@" "$arg" ;; esac
	done
	exec pahole "$@"
END
chmod +x "$work/pahole"
kmake() {
	KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=mica KBUILD_BUILD_HOST=mica KBUILD_BUILD_VERSION=1 LC_ALL=C \
		MAKEFLAGS= MAKELEVEL= make -s -C "$src" ARCH=x86_64 CC="$cc" PAHOLE="$work/pahole" O="$work/b" "$@"
}
takes="10 to 20 minutes"
[ "$flavour" != full ] || takes="half an hour"
echo "kernel: building $flavour ($takes on two cores, once; log: $log)" >&2
start=$(date +%s)
kmake KCONFIG_ALLCONFIG="$work/fragment" allnoconfig > "$log" 2>&1 || { tail -n 20 "$log" >&2; die "configuring the kernel failed"; }
"$here/kernel-config-check.sh" -c "$work/b/.config" "$work/fragment"
kmake -j"$jobs" vmlinux >> "$log" 2>&1 9>&- || { tail -n 20 "$log" >&2; die "building the kernel failed (log: $log)"; }

mkdir -p "$work/out"
# Symbols go; the notes stay: the PVH entry point is one of them.
objcopy --strip-all --remove-section=.comment "$work/b/vmlinux" "$work/out/vmlinux"
readelf -n "$work/out/vmlinux" 2>/dev/null | grep -q Xen || die "the built kernel has no PVH note"
cp "$work/b/.config" "$work/out/config"
mkdir -p "$cache"
stage=$(mktemp -d "$cache/.new.XXXXXX")
cp "$work/out/vmlinux" "$work/out/config" "$stage/"
chmod 755 "$stage"
mv -T "$stage" "$cache/$key" 2>/dev/null || rm -rf "$stage"
[ -d "$cache/$key" ] || die "cannot write $cache/$key"
install_from "$cache/$key"
echo "kernel: $flavour built in $(($(date +%s) - start)) s" >&2
