#!/bin/sh
# cbmc.sh: says how to call CBMC here: one line, a command and its first arguments.
# A cbmc in PATH is taken. Debian 12 has none: then that of Debian 13 is fetched by apt into the cache (30 MB, once; no root, nothing is
# installed) with the C library it wants, and run by that library's own loader.
set -eu
cache=${MICA_CACHE:-$HOME/.cache/mica}/cbmc
suite=trixie
if command -v cbmc >/dev/null; then
	command -v cbmc
	exit 0
fi
[ "$(uname -m)" = x86_64 ] || { echo "error: no cbmc here; cause: it is fetched for x86-64 alone; fix: install cbmc" >&2; exit 1; }
lib=usr/lib/x86_64-linux-gnu
run=$cache/root
if [ ! -e "$cache/.done-$suite" ]; then
	rm -rf "$cache"
	mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$cache/debs" "$run"
	archive=$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/*$' | head -n 1) # where this machine gets its packages
	[ "$archive" ] || { echo "error: no cbmc here; cause: apt knows no archive of Debian ('apt-get update' first?); fix: install cbmc" >&2; exit 1; }
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" > "$cache/sources.list"
	apt="-q -o Dir::Etc::sourcelist=$cache/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$cache/lists -o Dir::Cache=$cache -o APT::Sandbox::User= \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
	echo "fetching cbmc of Debian $suite into $cache" >&2
	# shellcheck disable=SC2086
	(cd "$cache/debs" && apt-get $apt update >&2 && apt-get $apt download "cbmc/$suite" "libc6/$suite" "libstdc++6/$suite" "libgcc-s1/$suite" "minisat/$suite" "zlib1g/$suite" >&2) ||
		{ echo "error: cbmc cannot be fetched; cause: the lines above; fix: install cbmc, or go where Debian's archive can be reached" >&2; exit 1; }
	for deb in "$cache"/debs/*.deb; do dpkg -x "$deb" "$run"; done
	rm -rf "$cache/debs" "$cache/lists" "$cache/archives" "$cache"/*.bin
	: > "$cache/.done-$suite"
fi
echo "$run/$lib/ld-linux-x86-64.so.2 --library-path $run/$lib:$run/usr/lib $run/usr/bin/cbmc"
