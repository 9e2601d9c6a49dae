#!/bin/bash
# setup.sh: make what rig.sh needs, in $MICA_CACHE/rig (default ~/.cache/mica/rig), once. Prints the folder.
#   vmlinux   Debian's cloud kernel, unpacked from its package (never installed), uncompressed
#   l1.cpio   busybox, the modules of tests/rig/modules, l1-boot
#   root.img  ext4 with python3, curl, iproute2, strace, QEMU and their libraries, copied from this machine
# Needs no root. RIG_KERNEL_DEB=FILE takes the kernel package from a file (air-gapped machines).
# Exit: 0 ready, 77 the rig cannot be made here (a line says why), 1 it should have worked and did not.
set -eu
here=$(dirname "$(readlink -f "$0")")
cache=${MICA_CACHE:-$HOME/.cache/mica}/rig
say() { echo "rig: $*" >&2; }
skip() { say "cannot be set up here: $*"; exit 77; }

[ "$(uname -m)" = x86_64 ] || skip "needs an x86-64 machine"
for t in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod mke2fs:e2fsprogs \
	python3:python3 dpkg-deb:dpkg; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${t%%:*}" >/dev/null || skip "${t%%:*} is missing (Debian package ${t#*:})"
done
PATH=$PATH:/usr/sbin:/sbin
busybox=$(command -v busybox)
case $(ldd "$busybox" 2>&1) in *"not a dynamic"*|*statically*) ;; *) skip "busybox is not static (package busybox-static)" ;; esac
qemu=$(command -v qemu-system-x86_64)

# What the image is made of decides its name: our scripts, the tools' versions.
tools="/usr/bin/python3 /usr/bin/dash /usr/bin/bash /usr/bin/curl /usr/sbin/ip /usr/bin/strace /usr/sbin/nft /usr/bin/tar $qemu"
key=$({ cat "$here/setup.sh" "$here/l1-boot" "$here/l1-init" "$here/modules" "$here/unbz.py"; for t in $tools "$busybox"; do
	stat -L -c '%n %s %Y' "$t" 2>/dev/null || true; done; echo "${RIG_KERNEL_DEB:-}"; } | sha256sum | cut -c1-16)
dir=$cache/$key
mkdir -p "$cache"
exec 8>"$cache/lock"
flock -w 600 8
if [ -e "$dir/ready" ]; then touch "$dir"; echo "$dir"; exit 0; fi
tmp=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

fetch_kernel() {
	if [ -n "${RIG_KERNEL_DEB:-}" ]; then deb=$RIG_KERNEL_DEB; return; fi
	deb=$(ls -t "$cache"/linux-image-*-cloud-amd64_*.deb 2>/dev/null | head -1)
	[ -z "$deb" ] || return 0
	name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -1)
	[ -n "$name" ] || skip "apt knows no linux-image-cloud-amd64 (apt-get update, or RIG_KERNEL_DEB=FILE)"
	say "fetching the package $name"
	mkdir "$tmp/dl"
	(cd "$tmp/dl" && timeout 300 apt-get download "$name" >/dev/null 2>&1) || skip "apt-get download $name failed (RIG_KERNEL_DEB=FILE takes a file)"
	mv "$tmp"/dl/*.deb "$cache/"
	deb=$(ls -t "$cache"/linux-image-*-cloud-amd64_*.deb | head -1)
}

make_initramfs() { # KERNEL_ROOT VERSION
	local t=$tmp/ir f m
	mkdir -p "$t"/{bin,dev,proc,sys,etc,mnt,lib/modules}
	cp "$busybox" "$t/bin/busybox"
	ln -s busybox "$t/bin/sh"
	install -m 755 "$here/l1-boot" "$t/init"
	grep -v '^#' "$here/modules" | while read -r m; do
		modprobe -d "$1" -S "$2" --show-depends "$m" 2>/dev/null | awk '$1 == "insmod" {print $2}' || say "no module $m"
	done | awk '!seen[$0]++' | while read -r f; do
		case $f in *.xz) xz -dc "$f" >"$t/lib/modules/$(basename "$f" .xz)" ;; *) cp "$f" "$t/lib/modules/" ;; esac
		echo "/lib/modules/$(basename "$f" .xz)"
	done >"$t/etc/modules-boot"
	(cd "$t" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible --owner=0:0) >"$tmp/l1.cpio"
}

copy_program() { # FILE: the file and the libraries it names, at the same paths
	local f
	for f in "$1" $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
		local to=$root/$(readlink -f "$(dirname "$f")")/$(basename "$f")
		[ -e "$to" ] && continue
		mkdir -p "$(dirname "$to")"
		cp -L "$f" "$to"
	done
}

make_root() {
	root=$tmp/root
	local t applet so v
	mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib64,usr/lib/x86_64-linux-gnu,etc,dev,proc,sys,run,tmp,work,root,var/lib,var/log,home,mnt,opt}
	for t in bin sbin lib lib64; do ln -s usr/$t "$root/$t"; done
	ln -s /run "$root/var/run"
	cp "$busybox" "$root/usr/bin/busybox"
	for t in $tools; do
		[ -x "$t" ] || { say "not on this machine, so not in L1: $t"; continue; }
		copy_program "$t"
	done
	v=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
	[ -e "$root/usr/bin/$v" ] || { copy_program "/usr/bin/$v"; ln -sf "$v" "$root/usr/bin/python3"; }
	mkdir -p "$root/usr/lib/$v"
	(cd "/usr/lib/$v" && tar cf - --exclude=./test --exclude=./idlelib --exclude=./lib2to3 --exclude=./ensurepip --exclude=./tkinter \
		--exclude='./config-*' --exclude=./pydoc_data --exclude=__pycache__ .) | tar xf - -C "$root/usr/lib/$v"
	for so in "/usr/lib/$v"/lib-dynload/*.so; do
		for f in $(ldd "$so" | grep -o '/[^ ]*'); do copy_program "$f"; done
	done
	for t in bios-microvm.bin bios-256k.bin linuxboot_dma.bin pvh.bin kvmvapic.bin; do
		for f in /usr/share/qemu/$t /usr/share/seabios/$t; do
			[ -e "$f" ] || continue
			mkdir -p "$root/usr/share/qemu"; cp -L "$f" "$root/usr/share/qemu/$t"; break
		done
	done
	ln -s dash "$root/usr/bin/sh" # busybox's own shell would take its applets before the programs above
	for applet in $("$busybox" --list); do
		[ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nkvm:x:36:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost l1\n' >"$root/etc/hosts"
	printf 'hosts: files\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
	install -m 755 "$here/l1-init" "$root/rig-init"
	python3 -m compileall -q "$root/usr/lib/$v" -s "$root" -p / >/dev/null 2>&1 || true
	local mib=$(( $(du -sm "$root" | cut -f1) + 24 ))
	mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$tmp/root.img" "${mib}M" >&2
}

fetch_kernel
say "unpacking $(basename "$deb")"
mkdir "$tmp/k"
dpkg-deb -x "$deb" "$tmp/k"
ver=$(ls "$tmp/k/lib/modules" | head -1)
depmod -b "$tmp/k" "$ver" 2>/dev/null || true
python3 "$here/unbz.py" "$tmp/k/boot/vmlinuz-$ver" "$tmp/vmlinux"
cp "$tmp/k/boot/vmlinuz-$ver" "$tmp/vmlinuz" # for guests of our own
make_initramfs "$tmp/k" "$ver"
make_root
rm -rf "$tmp/k" "$tmp/ir" "$tmp/root" "$tmp/dl"
(cd "$tmp" && echo root.img | cpio -o -H newc --quiet --reproducible --owner=0:0 >root.cpio)
{ echo "kernel $ver"; "$qemu" --version | head -1; } >"$tmp/ready"
chmod 755 "$tmp"
mv "$tmp" "$dir"
# Others of two days ago; not newer ones, which another tree of ours may be using.
find "$cache" -maxdepth 1 -type d -name '????????????????' -mtime +1 ! -path "$dir" -exec rm -rf {} +
say "made $dir ($(du -sh "$dir" | cut -f1), $ver)"
echo "$dir"
