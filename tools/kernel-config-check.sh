#!/bin/sh
# kernel-config-check.sh FRAGMENT…: every option has a reason on its line and stands once.
# kernel-config-check.sh -c CONFIG FRAGMENT: every option of the fragment has the wanted value in a finished .config (Kconfig
# drops an option with an unmet dependency without a word).
set -eu
bad=0
say() { echo "error: $*" >&2; bad=1; }
if [ "$1" = -c ]; then
	config=$2
	while IFS= read -r l; do
		k=${l%%=*}
		case $l in
		*=n) ! grep -q "^$k=" "$config" || say "$k is on; the fragment wants it off" ;;
		*) grep -qxF "$l" "$config" || say "$l was dropped by Kconfig: a dependency is missing" ;;
		esac
	done < "$3"
	exit $bad
fi
for f; do
	n=$(grep -nvE '^#|^$|^CONFIG_[A-Za-z0-9_]+=("[^"]*"|[-A-Za-z0-9]+)[[:space:]]+# [^ ].{2,}$' "$f" | head -n 5 || true)
	[ -z "$n" ] || say "$f: not 'CONFIG_X=value  # reason': $n"
	d=$(grep -oE '^CONFIG_[A-Za-z0-9_]+' "$f" | sort | uniq -d)
	[ -z "$d" ] || say "$f: named twice:" $d
done
exit $bad
