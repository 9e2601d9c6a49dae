#!/bin/bash
# fair.sh MICA [suite options and rooms]: what VMs do to each other's latency (case_fair.py), TAP. Always in the rig, on its clock that counts instructions: there one CPU is
# shared and no neighbour of this machine is seen in the ratios. Without the rig: one clear skip.
set -u
here=$(dirname "$(readlink -f "$0")")
mica=$1
shift
why=$("$here/../rig/setup.sh" 2>&1 >/dev/null) || { echo "1..0 # SKIP no rig here: ${why##*$'\n'}"; exit 0; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/mica-fair.XXXXXX")
trap 'rm -rf "$dir"; kill "$pid" 2>/dev/null' EXIT
trap 'exit 143' TERM INT
cp "$mica" "$dir/mica"
cp "$here"/*.py "$dir/"
"$here/../rig/rig.sh" -I 0 -m 3072 -t "${MICA_RIG_SEC:-1380}" -d "$dir" -- "python3 suite.py ./mica ${*:-fair}" &
pid=$!
wait "$pid"
