"""The host's disk is full under a VM's disk: the guest sees an error, the VM and the daemon stay."""
import os
import subprocess

from client import wait_for
from world import Skip, limit, must, same


@limit(200)
def case_state_folder_full(env):
    """a guest that fills its disk past the host's: an error in the guest, VM and daemon answer; with room again and a relaunch,
    what was written before is there"""
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small tmpfs")
    folder = env.folder("tiny")
    ballast = os.path.join(folder, "ballast")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tiny", folder], check=True)
    with open(ballast, "wb") as f:
        f.write(bytes(24 << 20))
    daemon = env.daemon("ful", 9, dir=folder, disk="512M")
    try:
        daemon.start()
        vm = daemon.create(cpus=1, persistent=True)
        same(daemon.api.sh(vm, "echo kept >/var/kept && sync && cat /var/kept"), (0, b"kept\n", b""))
        _, _, err = daemon.api.sh(vm, "head -c 100000000 /dev/urandom >/var/fill; sync", timeout_s=140)
        must(b"rror" in err or b"pace" in err, "the guest was told nothing", err)
        same(daemon.api.call("GET", "/vm/%s/health" % vm)[0], 200, "health of the VM")
        same(daemon.api.get("/info")["platform"], "linux")
        os.unlink(ballast)
        # A guest's ext4 shuts itself down after such an error: it needs a restart, and must then be whole.
        status, _, body = daemon.api.call("POST", "/vm/%s/shutdown" % vm, {}, timeout_s=60)
        same(status, 200, body)
        status, _, body = daemon.api.call("POST", "/vm/%s/relaunch?wait=agent" % vm, {}, timeout_s=90)
        must(status in (200, 201), status, body)
        must(wait_for(lambda: daemon.api.call("GET", "/vm/%s/health" % vm)[0] == 200, 20 * env.patience, 0.2), "health after relaunch")
        same(daemon.api.sh(vm, "cat /var/kept; rm -f /var/fill; echo w >/var/w && sync && echo writable"), (0, b"kept\nwritable\n", b""))
        status, _, body = daemon.delete(vm)
        same(status, 200, body)
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", folder])


@limit(240)
def case_disk_full(env):
    """a raw disk on a file system that is full: the guest gets EIO, the host says so once and shows it; with room again, writes go on at once"""
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small tmpfs")
    folder = env.folder("small")
    raw, ballast = os.path.join(folder, "raw.img"), os.path.join(folder, "ballast")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "small", folder], check=True)
    for path, size, data in ((raw, 8 << 20, b""), (ballast, 3 << 20, bytes(3 << 20))):
        with open(path, "wb") as f:
            f.write(data)
            f.truncate(size)
        os.chmod(path, 0o666)
    daemon = env.daemon("raw", 62, disk="64M\n    disks: [{ file: %s }]" % raw)
    error = lambda: next(d for d in daemon.api.get("/disks") if d["hostname"] == vm).get("error")
    said = lambda: [line for line in daemon.tail(1000).splitlines() if "/dev/vdb" in line]
    write = "dd if=/dev/zero of=/dev/vdb bs=64k seek=%d count=%d conv=fsync,notrunc"
    try:
        daemon.start()
        vm = daemon.create(cpus=2)
        same(daemon.api.sh(vm, write % (0, 4))[0], 0, "a disk with room can be written")
        same(error(), None)
        code, _, err = daemon.api.sh(vm, write % (32, 24), timeout_s=120)
        must(code != 0 and b"rror" in err, "the guest was told nothing", code, err)
        must(wait_for(error, 20 * env.patience, 0.2), "the list does not tell")
        same(error(), "/dev/vdb: No space left on device")
        same(daemon.api.get("/vm/%s" % vm)["disk_error"], error(), "the description")
        same(daemon.api.sh(vm, "echo root >/var/root && sync && cat /var/root"), (0, b"root\n", b""), "its root disk has room")
        os.unlink(ballast)
        must(wait_for(lambda: daemon.api.sh(vm, write % (32, 24))[0] == 0 and not error(), 60 * env.patience, 2), "with room again", error())
        same(daemon.api.sh(vm, write % (0, 1))[0], 0)
        must(wait_for(lambda: len(said()) >= 2, 20 * env.patience, 0.2), "what the daemon said", said())
        must(len(said()) == 2 and "No space left" in said()[0] and "can be written again" in said()[1], said())
        same(daemon.delete(vm)[0], 200)
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", folder])
