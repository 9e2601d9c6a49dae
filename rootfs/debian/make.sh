#!/bin/bash
# make.sh [--with NAME,…] [-o FILE]: a Debian 12 root file system as a tar.gz, for `mica image import`. Prints the tar's path.
#   --with    recipes of rootfs/debian/with: packages and a few lines of configuration each
#   -o FILE   a copy (a link where that is possible) of the tar at FILE, which is printed instead
# Packages come from the apt sources of this machine that are Debian's; no root is needed where user namespaces may be made.
# The tar is kept in $MICA_CACHE/rootfs/KEY; KEY is made of the lists that went in: remove it for newer packages.
# Exit: 0 ready, 77 it cannot be made here (a line says why), 1 it should have worked and did not.
set -eu
export LC_ALL=C
here=$(dirname "$(readlink -f "$0")")
suite=bookworm
with= out=
die() { echo "error: $1" >&2; exit "${2:-1}"; }
while [ $# -gt 0 ]; do case $1 in
	--with) with=${2:?} && shift 2 ;;
	-o) out=${2:?} && shift 2 ;;
	*) die "usage: make.sh [--with NAME,…] [-o FILE]" 2 ;;
esac; done
with=$(tr , '\n' <<<"$with" | sed '/^$/d' | sort -u)
for w in $with; do
	case $w in */* | .*) die "no recipe $w" 2 ;; esac
	[ -f "$here/with/$w" ] || die "no recipe $w; there are: $(ls "$here/with" | tr '\n' ' ')" 2
done
PATH=$PATH:/usr/sbin:/sbin

# A list is lines of package names; a line that starts with ! runs in the new root, by its shell.
lists=("$here/base")
for w in $with; do lists+=("$here/with/$w"); done
made=1 # raised when the same lists give another tar
key=$({ cat "${lists[@]}"; echo "$suite $made" $with; } | sha256sum | cut -c1-16)
dir=${MICA_CACHE:-$HOME/.cache/mica}/rootfs/$key
tar=$dir/debian.tar.gz
give() {
	if [ -n "$out" ]; then
		ln -f "$tar" "$out" 2>/dev/null || cp "$tar" "$out"
		tar=$out
	fi
	echo "$tar"
	exit 0
}
mkdir -p "$dir"
exec 8>"$dir/lock"
flock -w 1200 8 || die "another build of $dir takes longer than 20 minutes"
[ ! -s "$tar" ] || give

command -v mmdebstrap >/dev/null || die "mmdebstrap is missing (make deps)" 77
sources=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
	awk -v s=$suite '$2 ~ "^" s "(-updates|-security)?$" && $4 ~ /^Debian/ { print "deb " $1 " " $2 " " $3 }' | sort -u)
[ -n "$sources" ] || die "apt knows no Debian $suite here (apt-get update; its sources must name it)" 77
packages=$(grep -hvE '^(#|!|$)' "${lists[@]}" | tr -s ' \n' ,)
lacking=$(comm -23 <(tr , '\n' <<<"${packages%,}" | sort -u) <(apt-cache pkgnames | sort -u) | tr '\n' ' ')
[ -z "$lacking" ] || die "apt knows no ${lacking% } here (apt-get update; its sources must hold it)" 77
hooks=()
while IFS= read -r line; do hooks+=("--customize-hook=chroot \"\$1\" sh -ec '${line//\'/\'\\\'\'}'"); done < <(sed -n 's/^! *//p' "${lists[@]}")

rm -rf "$dir"/new.* # of one that was killed
tmp=$(mktemp -d "$dir/new.XXXXXX")
pid=
trap '[ -z "$pid" ] || { kill "$pid"; wait "$pid"; }; rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP
echo "making a Debian root file system with: ${packages%,}" >&2
# Documentation, translations and names of PCI and USB devices stay out, now and when packages are added in a guest. The merged /usr
# is made first, so that no package (with all of perl) is needed to merge it.
timeout 1100 mmdebstrap --quiet --variant=apt --format=tar --include="${packages%,}" \
	--setup-hook='/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh "$1"' --essential-hook='/usr/share/mmdebstrap/hooks/merged-usr/essential00.sh "$1"' \
	--aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/lib/udev/hwdb.d/*' \
	"${hooks[@]}" "$suite" "$tmp/debian.tar" - <<<"$sources" >"$tmp/log" 2>&1 8>&- &
pid=$!
rc=0
wait "$pid" || rc=$?
pid=
[ $rc = 0 ] || { tail -n 20 "$tmp/log" >&2; die "mmdebstrap failed"; }
gzip -6n <"$tmp/debian.tar" >"$tmp/gz"
mv "$tmp/gz" "$tar"
give
