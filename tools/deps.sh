#!/bin/sh
# deps.sh libyaml|bearssl: build that library with the caller's compiler and flags.
# In: O, CC, CFLAGS, AR from the environment; the source as fetch-source.sh leaves it in $O/src.
# Out: $O/deps/libyaml.a + $O/deps/yaml/include, or $O/deps/libbearssl.a + $O/deps/bearssl/inc.
# Object order and archive headers are fixed, so the same flags give the same bytes.
set -eu
export LC_ALL=C
lib=$1
O=${O:-build}
: "${CC:?}" "${CFLAGS:?}"
AR=${AR:-ar}
"$(dirname "$0")/fetch-source.sh" "$lib"
src=$O/src/$lib
case $lib in
libyaml)
	v=$(sed -n 's/^set (YAML_VERSION_[MP][A-Z]* \([0-9]*\)).*/\1/p' "$src/CMakeLists.txt")
	set -- $v
	[ $# -eq 3 ] || { echo "error: cannot read libyaml's version from CMakeLists.txt" >&2; exit 1; }
	flags="-I$src/include -DYAML_VERSION_MAJOR=$1 -DYAML_VERSION_MINOR=$2 -DYAML_VERSION_PATCH=$3 -DYAML_VERSION_STRING=\\\"$1.$2.$3\\\""
	headers="yaml include"
	;;
bearssl)
	flags="-I$src/inc -I$src/src"
	headers="bearssl inc"
	;;
*) echo "error: deps.sh knows libyaml and bearssl, not '$lib'" >&2; exit 1 ;;
esac
obj=$O/obj/deps/$lib
rm -rf "$obj"
mkdir -p "$obj" "$O/deps"
compile="f=\$1; o=$obj/\$(echo \"\${f#$src/src/}\" | tr / _ | sed 's/c\$/o/'); $CC $CFLAGS $flags -c -o \$o \$f"
find "$src/src/" -name '*.c' | sort | xargs -P "${JOBS:-$(nproc)}" -n 1 sh -ec "$compile" compile
rm -f "$O/deps/.$lib.a"
# libyaml.a stays libyaml.a, bearssl becomes libbearssl.a
(cd "$obj" && "$AR" rcD lib.a *.o)
mv "$obj/lib.a" "$O/deps/lib${lib#lib}.a"
set -- $headers
rm -rf "$O/deps/$1"
mkdir -p "$O/deps/$1"
cp -r "$src/$2" "$O/deps/$1/$2"
