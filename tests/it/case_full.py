"""The host's disk is full under a VM's disk: the guest sees an error, the VM and the daemon stay."""
import os
import subprocess

from client import query
from world import Skip, limit, must, same


@limit(150)
def case_state_folder_full(env):
    """a guest that fills its disk past the host's: errors in the guest, the VM answers, what was written before is intact"""
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small tmpfs")
    folder = os.path.join(env.top, "tiny")
    os.makedirs(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=755" % 48, "tiny", folder], check=True)
    daemon = env.daemon("ful", 9, dir=folder, disk="512M")
    try:
        daemon.start()
        vm = daemon.create(cpus=1)
        daemon.api.sh(vm, "echo kept >/var/kept; sync")
        daemon.api.sh(vm, "head -c 100000000 /dev/urandom >/var/fill; sync; echo $?", timeout_s=140)
        same(daemon.api.call("GET", "/vm/%s/health" % vm)[0], 200, "health of the VM")
        same(daemon.api.get("/info")["platform"], "linux")
        same(daemon.api.sh(vm, "cat /var/kept")[1], b"kept\n")
        status, _, body = daemon.delete(vm)
        same(status, 200, body)
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", folder])
