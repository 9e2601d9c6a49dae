#!/bin/sh
# image.sh: build the min guest image $O/image/min.ext4 from rootfs/min.list, without root and the same bytes each time.
# In: O, BUSYBOX (a static busybox), INIT, AGENT, UNPACK and STEP (our guest programs; default: $O/guest/…), SOURCE_DATE_EPOCH.
#
# mke2fs makes the empty file system and debugfs fills it from a script, so that owners, modes, order and times are ours and
# not those of a build folder. The shape is chosen for growing online to any size: meta_bg and 64bit need no reserved
# descriptor blocks, so the file is small and has no largest size. A journal of 4 MiB stays: a VM whose process is
# killed must mount again without a check, and opening an empty journal costs about a millisecond.
set -eu
export LC_ALL=C TZ=UTC
here=$(cd "$(dirname "$0")" && pwd)
O=${O:-build}
BUSYBOX=${BUSYBOX:-/bin/busybox}
INIT=${INIT:-$O/guest/init}
AGENT=${AGENT:-$O/guest/agent}
UNPACK=${UNPACK:-$O/guest/unpack}
STEP=${STEP:-$O/guest/step}
epoch=${SOURCE_DATE_EPOCH:-1767225600}
size_mib=32
out=$O/image/min.ext4
list=$here/../rootfs/min.list
PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "error: $1" >&2
	[ -z "${2:-}" ] || echo "fix: $2" >&2
	exit 1
}
for t in mke2fs debugfs e2fsck; do
	command -v $t >/dev/null || die "$t is needed to build the image" "make deps (package e2fsprogs)"
done
[ -x "$BUSYBOX" ] && ! readelf -lW "$BUSYBOX" | grep -q INTERP ||
	die "$BUSYBOX is not a static busybox" "make deps (package busybox-static), or BUSYBOX=path"
for p in "$INIT" "$AGENT" "$UNPACK" "$STEP"; do [ -f "$p" ] || die "$p is not built" "make progs"; done

mkdir -p "$O/image"
tmp=$(mktemp -d "$O/image/.min.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP

# own PATH MODE UID:GID → debugfs lines
own() { printf 'sif %s mode %s\nsif %s uid %s\nsif %s gid %s\n' "$1" "$2" "$1" "${3%:*}" "$1" "${3#*:}"; }
{
	own / 040755 0:0
	grep -v '^#' "$list" | while read -r what path a b c; do
		case $what in
		dir) echo "mkdir $path"; own "$path" "04$a" "${b:-0:0}" ;;
		file)
			case $b in
			'$BUSYBOX') b=$BUSYBOX ;; '$INIT') b=$INIT ;; '$AGENT') b=$AGENT ;; '$UNPACK') b=$UNPACK ;; '$STEP') b=$STEP ;; '$EMPTY') b=$tmp/empty.gz ;;
			*) b=$here/../rootfs/min/$b ;;
			esac
			echo "cd ${path%/*}"; echo "write $b ${path##*/}"; echo "cd /"
			own "$path" "010$a" "${c:-0:0}" ;;
		link) echo "symlink $path $a" ;;
		skip | '') ;;
		*) die "rootfs/min.list: what is '$what'?" ;;
		esac
	done
	taken=" $(awk '$1 ~ /^(file|link|skip)$/ { print $2 }' "$list" | tr '\n' ' ')"
	"$BUSYBOX" --list-full | sort | while read -r applet; do
		case "$taken" in
		*" /$applet "*) ;;
		*) echo "symlink /$applet /bin/busybox" ;;
		esac
	done
} > "$tmp/script"

export E2FSPROGS_FAKE_TIME="$epoch"
# What a new image starts as (rootfs/unpack): 16 MiB that grow online. Same shape as below.
truncate -s 16M "$tmp/empty"
mke2fs -q -F -t ext4 -b 4096 -N 4096 -m 0 -I 256 -L mica -J size=4 -U 6d696361-0000-4000-8000-6d696e000003 \
	-O '^resize_inode,meta_bg,64bit,metadata_csum' \
	-E hash_seed=6d696361-0000-4000-8000-6d696e000004,root_owner=0:0,nodiscard,lazy_itable_init=0,lazy_journal_init=0 \
	"$tmp/empty" > "$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "mke2fs failed"; }
gzip -9nc "$tmp/empty" > "$tmp/empty.gz"
truncate -s ${size_mib}M "$tmp/fs"
# 4096 inodes in each group of 128 MiB: one for 32 KiB. More would be initialised in the background after a growth.
mke2fs -q -F -t ext4 -b 4096 -N 4096 -m 0 -I 256 -L mica -J size=4 -U 6d696361-0000-4000-8000-6d696e000001 \
	-O '^resize_inode,meta_bg,64bit,metadata_csum' \
	-E hash_seed=6d696361-0000-4000-8000-6d696e000002,root_owner=0:0,nodiscard,lazy_itable_init=1,lazy_journal_init=1 \
	"$tmp/fs" > "$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "mke2fs failed"; }
debugfs -w -f "$tmp/script" "$tmp/fs" > "$tmp/log" 2>&1
# debugfs succeeds whatever happened: look at what it said
if grep -vE '^debugfs|^Allocated inode' "$tmp/log" >&2; then die "debugfs could not fill the image"; fi
e2fsck -fn "$tmp/fs" > "$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "the image has errors"; }
fallocate -d "$tmp/fs" 2>/dev/null || true
mv "$tmp/fs" "$out"
