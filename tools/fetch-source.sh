#!/bin/sh
# fetch-source.sh NAME: make the source of NAME (a line of sources.sha256) appear as the folder $O/src/NAME.
#
# Where it comes from, first that is there: the tarball or folder in NAME_SRC (LIBYAML_SRC, BEARSSL_SRC, LINUX_SRC); the
# cache ($MICA_CACHE/src); the distribution's package, fetched with apt as this machine has it configured, source packages
# switched on in a private copy of its lists. Nothing under /etc or /var is changed and no root is needed.
# A tarball is used only if its sha256 is the recorded one. Two exceptions, both said aloud: a tarball or folder that the
# user named, and ACCEPT_NEWER=1 (another version, vouched for by the distribution's signature alone).
# Beside the folder stands NAME.id: what the source is, for the keys of things built from it.
set -eu
name=$1
here=$(cd "$(dirname "$0")" && pwd)
O=${O:-build}
cache=${MICA_CACHE:-${HOME:-/nonexistent}/.cache/mica}
upper=$(echo "$name" | tr a-z A-Z)_SRC
eval "given=\${$upper:-}"

die() { # what, remedy
	echo "error: $1" >&2
	[ -z "${2:-}" ] || echo "fix: $2" >&2
	exit 1
}
line=$(awk -v n="$name" '$1 == n' "$here/sources.sha256")
[ -n "$line" ] || die "no source named '$name' in tools/sources.sha256"
set -- $line
kind=$2 package=$3 version=$4 file=$5 want=$6
offline="point $upper at the tarball $file (sha256 $want) or at its unpacked folder"

mkdir -p "$O/src"
O=$(cd "$O" && pwd)
exec 8> "$O/src/.$name.lock" # two kernels at once want one source once
flock 8
tmp=$(mktemp -d "$O/src/.$name.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP
sum() { sha256sum "$1" | cut -d' ' -f1; }

# place FOLDER ID: the folder becomes $O/src/NAME in one step (a link, so that replacing it is atomic too)
place() {
	ln -s "$1" "$tmp/link"
	mv -T "$tmp/link" "$O/src/$name"
	echo "$2" > "$tmp/id"
	mv "$tmp/id" "$O/src/$name.id"
}
# unpack TARBALL SHA256
unpack() {
	dir=$name-$(echo "$2" | cut -c1-12)
	if [ ! -d "$O/src/$dir" ]; then
		mkdir "$tmp/x"
		tar -C "$tmp/x" --no-same-owner -xf "$1" || die "$1 cannot be unpacked" "$offline"
		set -- "$1" "$2" "$tmp"/x/*
		[ $# -eq 3 ] && [ -d "$3" ] || die "$1 does not hold exactly one folder" "$offline"
		mv -T "$3" "$O/src/$dir" 2>/dev/null || [ -d "$O/src/$dir" ] || die "cannot write $O/src/$dir"
	fi
	place "$dir" "$2"
}

if [ -n "$given" ]; then
	if [ -d "$given" ]; then
		given=$(cd "$given" && pwd)
		id=folder-$(cd "$given" && find . -path ./.git -prune -o -type f -printf '%p %s %T@\n' | LC_ALL=C sort | sha256sum | cut -d' ' -f1)
		place "$given" "$id"
	elif [ -f "$given" ]; then
		have=$(sum "$given")
		[ "$have" = "$want" ] || echo "warning: $given is not the recorded $file; used because $upper names it" >&2
		unpack "$given" "$have"
	else
		die "$upper=$given: no such file or folder" "$offline"
	fi
	exit 0
fi

# the cache, or our build folder where there is no writable cache
store=$cache/src
mkdir -p "$store" 2>/dev/null && [ -w "$store" ] || store=$O/src/tarballs
for t in "$cache/src/$file" "$O/src/tarballs/$file"; do
	if [ -f "$t" ] && [ "$(sum "$t")" = "$want" ]; then
		unpack "$t" "$want"
		exit 0
	fi
done

# ---- the distribution's package ----
command -v apt-get >/dev/null || die "no apt-get on this machine to fetch $package with" "$offline"
aptdir=$tmp/apt
mkdir -p "$aptdir/parts" "$aptdir/lists/partial" "$aptdir/cache/archives/partial"
eval "$(apt-config shell ETC Dir::Etc/d LIST Dir::Etc::sourcelist/f PARTS Dir::Etc::sourceparts/d)"
[ ! -f "${LIST:-}" ] || sed -n 's/^deb[[:space:]]/deb-src /p; /^deb[[:space:]]/p' "$LIST" > "$aptdir/parts/main.list"
for f in "${PARTS:-/nonexistent}"/*; do
	case $f in
	*.list) sed -n 's/^deb[[:space:]]/deb-src /p; /^deb[[:space:]]/p' "$f" > "$aptdir/parts/$(basename "$f")" ;;
	*.sources) sed 's/^[Tt]ypes:.*/Types: deb deb-src/' "$f" > "$aptdir/parts/$(basename "$f")" ;;
	esac
done
apt() { # tool arguments…: apt with the private lists; apt's sandbox user could not read them in a build folder
	tool=$1; shift
	"$tool" -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$aptdir/parts" -o Dir::State::lists="$aptdir/lists" \
		-o Dir::Cache="$aptdir/cache" -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=2 "$@"
}
apt apt-get update >"$tmp/log" 2>&1 || true
if [ "$kind" = src ]; then madison=Sources; else madison=Packages; fi
versions=$(apt apt-cache madison "$package" 2>/dev/null | awk -v k="$madison" '$NF == k { print $3 }')
if [ -z "$versions" ]; then
	tail -n 3 "$tmp/log" >&2
	die "package $package is not on any list apt can read here" "check the network and apt's sources, or $offline"
fi
if ! echo "$versions" | grep -qxF "$version"; then
	newest=$(echo "$versions" | head -n 1)
	[ -n "${ACCEPT_NEWER:-}" ] || die "$package $version is gone from the registry; it offers $newest" \
		"set ACCEPT_NEWER=1 to build with $newest as signed by the distribution, or $offline"
	echo "warning: building with $package $newest instead of the recorded $version" >&2
	version=$newest want=
fi
echo "fetching $package $version" >&2
if [ "$kind" = src ]; then
	(cd "$tmp" && apt apt-get source --download-only --tar-only "$package=$version") >"$tmp/log" 2>&1 ||
		{ tail -n 3 "$tmp/log" >&2; die "apt cannot fetch the source of $package $version" "$offline"; }
	[ -n "$want" ] || file=$(cd "$tmp" && ls | grep '\.orig\.tar\.' | head -n 1)
else
	(cd "$tmp" && apt apt-get download "$package=$version") >"$tmp/log" 2>&1 ||
		{ tail -n 3 "$tmp/log" >&2; die "apt cannot fetch $package $version" "$offline"; }
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -xf - -C "$tmp" "./usr/src/$file" ||
		die "package $package $version holds no /usr/src/$file" "$offline"
	mv "$tmp/usr/src/$file" "$tmp/$file"
fi
[ -f "$tmp/$file" ] || die "package $package $version holds no $file" "$offline"
have=$(sum "$tmp/$file")
if [ -n "$want" ]; then
	[ "$have" = "$want" ] || die "$file of $package $version has sha256 $have, recorded is $want" \
		"do not build from it before somebody has looked; $offline"
	mkdir -p "$store"
	# by a name of our own first: the store may be on another file system, and other builds read it
	cp "$tmp/$file" "$store/.$file.$$" && mv "$store/.$file.$$" "$store/$file"
fi
unpack "$tmp/$file" "$have"
