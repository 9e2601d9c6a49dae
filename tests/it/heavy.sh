#!/bin/bash
# heavy.sh KVMCHECK MICA [PART...]: Debian guests with systemd and what people run in them, TAP. Parts, in this order:
#   systemd   boot, network, user, copies, shell, ends            services  PostgreSQL, Redis, Docker, containerd in one guest
#   media     ffmpeg and Chromium in one guest                      docker    Docker in full, docker-compose, podman, buildah, and firewalls' rules
#   kubernetes  what it and K3s do to a guest, by hand
#   k3s       K3s itself, where its file is given: MICA_K3S=FILE, and MICA_K3S_IMAGES=FILE with its archive of images (k3s-airgap-images-amd64.tar.zst)
# Each part has its own root file system (rootfs/debian/make.sh, kept in $MICA_CACHE) and its own limit (HEAVY_PART_SEC); what does not fit into
# HEAVY_SEC altogether is left out and named. They run where the whole-guest tests run: directly, or in the rig (tests/rig).
set -u
here=$(dirname "$(readlink -f "$0")")
kvmcheck=$1 mica=$2
shift 2
parts=${*:-systemd services media kubernetes docker k3s}
part_sec=${HEAVY_PART_SEC:-1800} all_sec=${HEAVY_SEC:-5400}
eval "$("$here/../rig/probe.sh" "$kvmcheck" "$mica" | sed "s/'/'\\\\''/g; s/=\(.*\)/='\1'/")"
echo "# heavy: route $route, because $why"
[ -x "$mica" ] || { echo "not ok 1 - $mica is there"; echo 1..1; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/mica-heavy.XXXXXX")
pid=
trap 'rm -rf "$dir" "$dir.log"; [ -z "$pid" ] || kill "$pid" 2>/dev/null' EXIT
trap 'exit 143' TERM INT
count=0 failed=0
result() { # ok|not ok, text
	count=$((count + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $count - $2"
}

# Programs of the guest's packages that serve as clients on the host: FILE..., each with its libraries, into $dir/host.
take_programs() { # TAR FILE...
	local tar=$1 root=$dir/host/root f
	shift
	mkdir -p "$root" "$dir/host/lib"
	tar xzf "$tar" -C "$root" --no-same-owner --wildcards './lib64' './lib' './usr/lib64' './usr/lib/x86_64-linux-gnu/*.so*' "${@/#/./}" 2>/dev/null || true
	local ld=$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
	for f in "$@"; do
		cp "$root/$f" "$dir/host/" || return 1
		"$ld" --library-path "$root/usr/lib/x86_64-linux-gnu" --list "$root/$f" | grep -o "$root/[^ ]*" | while read -r f; do cp -L "$f" "$dir/host/lib/"; done
	done
	cp -L "$ld" "$dir/host/ld.so" && rm -rf "$root"
}

# A raw disk with our agent in it, as rootfs/unpack makes it in a builder, made on this machine (as root, in a mount namespace of its own): in the rig an import
# of hundreds of megabytes takes half an hour. Part systemd goes the whole way there, too.
make_disk() { # TAR OUT
	local guest=${mica%/*}/guest
	truncate -s 4G "$2" && unshare --mount --propagation private sh -ec '
		root=$3/mnt
		mkdir "$root"
		mount -t tmpfs -o size=75% t "$root"
		mkdir -p "$root/new" "$root/proc" "$root/sys" "$root/sbin" "$root/usr/local/bin"
		mount -t proc p "$root/proc" # what sets extended attributes goes by way of it
		cp "$4/unpack" "$root/unpack"
		cp "$4/init" "$root/sbin/init"
		cp "$4/agent" "$root/usr/local/bin/slicer-agent"
		gzip -dc "$1" >"$root/archive"
		chroot "$root" /unpack --adopt /archive /new >/dev/null
		rm "$root/archive"
		PATH=$PATH:/usr/sbin:/sbin
		mke2fs -q -F -t ext4 -b 4096 -m 0 -I 256 -J size=4 -O "^resize_inode,meta_bg,64bit,metadata_csum" -E root_owner=0:0,nodiscard -d "$root/new" "$2"
	' sh "$1" "$2" "$dir" "$guest" && rmdir "$dir/mnt"
}

run_part() { # ROOMS
	case $route in
	direct)
		local ns=(unshare --net --mount --pid --fork --mount-proc --kill-child)
		[ "$(id -u)" = 0 ] || ns=(unshare --map-root-user "${ns[@]:1}")
		timeout "$part_sec" "${ns[@]}" sh -c 'ip link set lo up; exec python3 "$@"' sh "$dir/suite.py" -f "$mica" $1 & ;;
	nested)
		# Guests in huge pages: without them each page of theirs that is touched first is a nested fault, on an emulated CPU milliseconds.
		"$here/../rig/rig.sh" -w -m "${MICA_HEAVY_RIG_MIB:-6144}" -t "$part_sec" -d "$dir" -- \
			"echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled; python3 suite.py ./mica $*" & ;;
	esac
	pid=$!
	wait "$pid"
	local rc=$?
	pid=
	return $rc
}

[ "$route" = direct ] || [ "$route" = nested ] || { echo "1..0 # SKIP $why"; exit 0; }
cp "$mica" "$dir/mica"
cp "$here"/*.py "$here"/guest_*.sh "$dir/"
for part in $parts; do
	left=$((all_sec - SECONDS)) rooms=$part
	case $part in systemd) tar=debian.tar.gz with= ;; services) tar=services.tar.gz with=postgresql,redis,docker,containerd ;; media) tar=media.tar.gz with=ffmpeg,headless-shell,chromium ;;
		docker) tar=docker.tar.gz with=docker,compose,podman,buildah,firewall rooms="rules docker" ;;
		kubernetes) tar=kubernetes.tar.gz with=kubernetes rooms=k8s ;;
		k3s) tar=k3s.tar.gz with= ;;
		*) result "not ok" "there is a part $part"; continue ;; esac
	if [ $part = k3s ] && [ -z "${MICA_K3S:-}" ]; then
		result ok "k3s # SKIP no file of it was given (MICA_K3S=/path/to/k3s)"
		continue
	elif [ $left -lt 60 ] || [ "$route$part" = nesteddocker ] && [ $left -lt 4500 ]; then
		result ok "$part # SKIP left out: of HEAVY_SEC=$all_sec $left s are left"
		continue
	fi
	[ $left -ge "$part_sec" ] && [ $part != docker ] || part_sec=$left
	path=$("$here/../../rootfs/debian/make.sh" ${with:+--with $with} 2>"$dir/err")
	rc=$?
	if [ $rc$part = 77media ]; then # no browser to be had: its cases say so, too
		sed 's/^/# media without a browser: /' "$dir/err"
		path=$("$here/../../rootfs/debian/make.sh" --with ffmpeg 2>"$dir/err")
		rc=$?
	fi
	if [ $rc = 77 ]; then
		result ok "$part # SKIP $(sed -n 's/^error: //p' "$dir/err" | tail -1)"
		continue
	elif [ $rc != 0 ]; then
		result "not ok" "a root file system for $part can be made"
		sed 's/^/# /' "$dir/err"
		continue
	fi
	if [ "$route" = nested ] && [ $part != systemd ] && [ "$(id -u)" = 0 ]; then
		make_disk "$path" "$dir/$part.img" 2>"$dir/err" || { result "not ok" "a disk for $part can be made"; sed 's/^/# /' "$dir/err"; continue; }
	else
		ln -f "$path" "$dir/$tar" 2>/dev/null || cp "$path" "$dir/$tar"
	fi
	[ "$part" != services ] || take_programs "$path" usr/lib/postgresql/15/bin/pgbench usr/bin/redis-benchmark || echo "# pgbench and redis-benchmark could not be taken out of $path"
	if [ "$part" = k3s ]; then
		name=${MICA_K3S_IMAGES:-} && name=${name##*/}
		cp "$MICA_K3S" "$dir/k3s" && { [ -z "$name" ] || cp "$MICA_K3S_IMAGES" "$dir/k3s-airgap-images.${name#*.}"; } || { result "not ok" "K3s can be taken from $MICA_K3S"; continue; }
	fi
	echo "# part $part"
	run_part "$rooms" >"$dir.log" 2>&1 </dev/null
	rc=$?
	while IFS= read -r line; do
		case $line in
		'ok '*) line=${line#ok * - } && result ok "$line" ;;
		'not ok '*) line=${line#not ok * - } && result "not ok" "$line" ;;
		1..*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$dir.log"
	grep -q '^1\.\.' "$dir.log" || result "not ok" "$part came to its end within $part_sec s (status $rc)"
	rm -rf "${dir:?}/$tar" "$dir/$part.img" "$dir/host" "$dir.log"
done
echo "1..$count"
[ $failed = 0 ]
