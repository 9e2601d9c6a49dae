#!/usr/bin/env python3
"""service.py BIN-FOLDER: `mica up` under a service manager: a made-up one hears READY, WATCHDOG, RELOADING, STOPPING; a new version takes running VMs over
(real vmms whose guests halt, haltvm.py). TAP on stdout."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
ROOT = os.getuid() == 0
if ROOT and "MICA_SERVICE_INSIDE" not in os.environ and __name__ == "__main__":
    os.environ["MICA_SERVICE_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", sys.executable,
                          os.path.abspath(__file__)] + sys.argv[1:])

from frames import Tap  # noqa: E402
from haltvm import Tree, Up, vmms  # noqa: E402

tap = Tap()
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
NO_KVM = [] if KVM else ["--flavour", "min", "--kvm", "/dev/null"]


class Manager:
    def __init__(self, path):
        self.path, self.said = path, []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path if path[0] == "/" else "\0" + path[1:])
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            self.said.append(self.sock.recv(4096).decode())

    def hears(self, word, after=0, limit_s=15):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if any(word in s.split("\n") for s in self.said[after:]):
                return True
            time.sleep(0.02)
        return False

    def env(self, usec=None):
        return {"NOTIFY_SOCKET": self.path, **({"WATCHDOG_USEC": str(usec)} if usec else {})}


def notify(tree):
    m = Manager(tree.path("notify"))
    up = Up(tree, env=m.env(200000), words=NO_KVM)
    tap.ok(m.hears("READY=1"), "READY=1 when it serves: %s" % m.said)
    tap.ok(m.hears("WATCHDOG=1"), "the watchdog is fed")
    for name in ("core", "front"):
        pid = up.pids()[name]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        mark = len(m.said)
        time.sleep(1)
        fed = [s for s in m.said[mark:] if "WATCHDOG" in s]
        os.kill(pid, signal.SIGCONT)
        tap.ok(not fed, "not while %s hangs" % name)
        tap.ok(m.hears("WATCHDOG=1", len(m.said)), "and again when it goes on")
    environs = b""
    for name, pid in up.pids().items():
        if name == "mica":  # the supervisor's own child that asks for the watchdog: here and gone
            continue
        with open("/proc/%d/environ" % pid, "rb") as f:
            environs += f.read()
    tap.ok(b"NOTIFY_SOCKET" not in environs, "the daemon's processes do not know of it")
    mark = len(m.said)
    os.kill(up.pids()["front"], signal.SIGKILL)
    tap.ok(m.hears("READY=1", mark), "after a death it says when it serves again")
    mark = len(m.said)
    tap.ok(up.stop() == 0 and m.hears("STOPPING=1", mark), "STOPPING=1 at SIGTERM")
    up = Up(tree, env=m.env(), words=[*NO_KVM, "--tls"])
    up.says("is up")
    mark = len(m.said)
    up.p.send_signal(signal.SIGHUP)
    tap.ok(m.hears("RELOADING=1", mark) and m.hears("READY=1", mark), "SIGHUP: RELOADING=1, then READY=1: %s" % m.said[mark:])
    tap.ok(any("MONOTONIC_USEC=" in s for s in m.said[mark:]), "with the time")
    os.unlink(tree.path("state/tls/key.pem"))
    mark = len(m.said)
    up.p.send_signal(signal.SIGHUP)
    tap.ok(m.hears("RELOADING=1", mark) and m.hears("READY=1", mark), "also when the key is gone")
    tap.ok(up.stop() == 0, "stopped")
    n = Manager("@mica-test-%d" % os.getpid())
    up = Up(tree, state="state-2", env=n.env(), words=NO_KVM)
    tap.ok(n.hears("READY=1") and up.stop() == 0, "an abstract socket")
    up = Up(tree, state="state-2", env={"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "x"}, words=NO_KVM)
    tap.ok(bool(up.says("is up")) and up.stop() == 0, "a socket that is not there, a number that is none: nothing happens")


def upgrade(tree):
    if not KVM:
        tap.skip("a new version under running VMs", "needs /dev/kvm")
        return
    shutil.copytree(tree.path("bin"), tree.path("new/bin"))
    for folder in ("kernel", "image"):
        shutil.copytree(tree.path(folder), tree.path("new/" + folder))
    up = Up(tree, state="up", net=ROOT)
    up.serving()
    for _ in range(2):
        tap.ok(up.call("POST", "/hostgroup/vm/nodes", {"persistent": True})[0] == 201, "a VM")
    end = time.monotonic() + 15
    while time.monotonic() < end and (len(vmms()) < 2 or any(n["status"] != "Running" for n in up.nodes().values())):
        time.sleep(0.02)
    before, nodes = vmms(), up.nodes()
    tap.ok(len(before) == 2 and up.stop(signal.SIGUSR2) == 0, "SIGUSR2: the daemon ends with 0: %s" % up.text())
    tap.ok(vmms() == before and not up.pids(), "its VMs go on, its processes are gone")
    new = Up(tree, state="up", net=ROOT, program="new/bin/mica", words=["--keep-vms"])
    tap.ok(new.serving() and new.nodes() == nodes and vmms() == before, "another copy of mica takes them over: %s" % new.nodes())
    tap.ok(os.readlink("/proc/%d/exe" % new.p.pid).endswith("/new/bin/mica"), "which is another file")
    tap.ok(new.call("POST", "/vm/vm-1/pause")[0] == 200, "they obey it")
    tap.ok(new.stop() == 0 and vmms() == before, "--keep-vms: SIGTERM leaves them too")
    last = Up(tree, state="up", net=ROOT)
    tap.ok(last.serving() and last.nodes()["vm-1"]["status"] == "Paused" and last.nodes()["vm-2"]["status"] == "Running", "each in the state it had")
    said = [last.call("DELETE", "/hostgroup/vm/nodes/" + name) for name in ("vm-1", "vm-2")]
    code = last.stop()
    tap.ok(code == 0 and not vmms(), "and they end as any: %s %s %s" % (code, said, last.text()))
    if ROOT:
        left = subprocess.run("ip -br link | grep -v ^lo; nft list tables", shell=True, capture_output=True, text=True).stdout
        tap.ok(left == "", "nothing is left of the network: %r" % left)


def main():
    if ROOT:
        subprocess.run(["ip", "link", "set", "lo", "up"])
    tree = Tree(os.path.abspath(sys.argv[1]))
    try:
        notify(tree)
        upgrade(tree)
    finally:
        for pid in vmms() if ROOT else ():
            os.kill(pid, signal.SIGKILL)
        tree.close()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
