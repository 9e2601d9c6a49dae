"""What an operator brings: a distribution's own kernel and initrd, and files that are neither kernel nor image."""
import json
import os
import shutil

from client import wait_for
from world import Skip, limit, must, same

INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
echo "up: $(/bin/busybox uname -r), $(/bin/busybox grep -c ^processor /proc/cpuinfo) processors" >/dev/ttyS0
/bin/busybox poweroff -f
"""


def cpio(entries):
    """An archive of (name, mode, bytes) in the form that the kernel unpacks (newc)."""
    out = b""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")]):
        head = "070701" + "".join("%08X" % v for v in (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        out += head.encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def initrd(path):
    busybox = next((p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), None)
    if not busybox:
        raise Skip("no busybox here to make an initrd of")
    with open(busybox, "rb") as f, open(path, "wb") as out:
        out.write(cpio([("proc", 0o40755, b""), ("dev", 0o40755, b""), ("bin", 0o40755, b""), ("bin/busybox", 0o100755, f.read()),
                        ("init", 0o100755, INIT)]))


def daemon_with(env, name, number, **keys):
    """A daemon whose group has these keys too."""
    daemon = env.daemon(name, number, ram_mb=256)
    with open(daemon.file) as f:
        text = f.read()
    more = "".join("    %s: %s\n" % pair for pair in keys.items())
    with open(daemon.file, "w") as f:
        f.write(text.replace("    vcpu: 2\n", "    vcpu: 2\n" + more))
    return daemon


@limit(180)
def case_distribution_kernel(env):
    """a distribution's own bzImage with an initrd boots with 2 vCPUs, and powers off"""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vmlinuz")
    if not os.path.exists(here):
        raise Skip("no distribution kernel beside the suite")
    files = env.folder("own-files")
    shutil.copy(here, os.path.join(files, "vmlinuz"))
    initrd(os.path.join(files, "initrd"))
    daemon = daemon_with(env, "own", 21, kernel_file=os.path.join(files, "vmlinuz"), initrd_file=os.path.join(files, "initrd"))
    daemon.start()
    try:
        status, _, body = daemon.api.call("POST", "/hostgroup/own/nodes", {"persistent": True}, timeout_s=60)
        must(status in (200, 201), status, body)
        name = json.loads(body)["hostname"]

        def log():
            return daemon.api.get("/vm/%s/logs?lines=0" % name)["content"]
        must(wait_for(lambda: "up: " in log(), 40 * env.patience, 0.5), "its console:", log()[-400:])
        must("cloud-amd64, 2 processors" in log(), log()[-400:])
        must(wait_for(lambda: daemon.api.get("/vm/" + name)["status"] == "Stopped", 40 * env.patience, 0.5), "it powered off")
        same(daemon.delete(name)[0], 200)
    finally:
        daemon.stop()


@limit(60)
def case_not_a_kernel(env):
    """a kernel that is no kernel, an image that is too short: the daemon does not start, and says which line"""
    files = env.folder("odd-files")
    for number, (key, name, data) in enumerate((("kernel_file", "text", b"this is no kernel\n" * 400), ("image", "short.img", b"x" * 100),
                                                ("kernel_file", "empty", b""), ("initrd_file", "missing", None))):
        path = os.path.join(files, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        daemon = daemon_with(env, "odd%d" % number, 22 + number, **{key: path})
        try:
            daemon.start()
        except AssertionError as refused:
            must(name in str(refused) and "mica.yaml:" in str(refused), refused)
        else:
            daemon.stop()
            must(False, "started with", key, name)


@limit(90)
def case_agent_comes_back(env):
    """the agent is killed inside the guest: init starts it again, and exec works"""
    name = env.vm(1)
    try:
        env.api.sh(name, "kill -9 $(pidof slicer-agent)", timeout_s=20)
    except Exception:
        pass  # this exec's own agent is the one that dies

    def answers():
        try:
            return env.api.sh(name, "echo again", timeout_s=10)[1] == b"again\n"
        except Exception:
            return False
    must(wait_for(answers, 40 * env.patience, 0.5), "exec after the agent's death")
