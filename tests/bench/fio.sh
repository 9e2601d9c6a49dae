#!/bin/sh
# fio.sh: builds fio (tools/sources.sha256) as $O/tests/bench/fio: one static program that runs in any guest, with the engines that need no library
# (io_uring, psync). For `make bench` alone; minutes on a small machine, so it is kept in the cache.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
O=${O:-build}
cache=${MICA_CACHE:-${HOME:-/nonexistent}/.cache/mica}
flags="--cc=gcc --build-static --disable-native --disable-numa --disable-rdma --disable-rados --disable-rbd --disable-http --disable-gfapi --disable-libnfs
	--disable-libzbc --disable-pmem --disable-dfs --disable-xnvme"
"$here/../../tools/fetch-source.sh" fio
src=$(cd "$O/src/fio" && pwd -P)
kept=$cache/bench/fio-$( (cat "$O/src/fio.id"; echo "$flags") | sha256sum | cut -c1-16)
mkdir -p "$O/tests/bench" "$cache/bench"
if [ ! -x "$kept" ]; then
	work=$O/obj/fio
	rm -rf "$work"
	mkdir -p "$work"
	cp -r "$src/." "$work/"
	# shellcheck disable=SC2086 # words
	(cd "$work" && ./configure $flags && make -j2 OPTFLAGS=-O2 fio && strip fio) >"$O/fio.log" 2>&1 || { tail -n 20 "$O/fio.log" >&2; exit 1; }
	cp "$work/fio" "$kept.$$"
	mv "$kept.$$" "$kept"
fi
cp "$kept" "$O/tests/bench/fio"
