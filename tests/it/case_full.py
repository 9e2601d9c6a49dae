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
    folder = os.path.join(env.top, "tiny")
    ballast = os.path.join(folder, "ballast")
    os.makedirs(folder)
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
