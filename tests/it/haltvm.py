"""A `mica up` of real parts (core, front, jail, netd, gate) on a real KVM whose guests halt at their first instruction: real vmm processes in real
cages, in no time, on any KVM. For tests of what lives on: Tree(bin folder) lays the programs out, Up(tree, …) is a daemon."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from stack import free_port  # noqa: E402

ROOT = os.getuid() == 0
DAEMONS = ("core", "front", "jail", "netd", "gate")


def halt_kernel():
    """An ELF file with a PVH entry whose code is cli; hlt; jmp."""
    code, at = b"\xfa\xf4\xeb\xfd", 0x200000
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", at)
    head = 64 + 2 * 56
    ehdr = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, at, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 4096, at, at, len(code), len(code), 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, head, 0, 0, len(note), len(note), 4)
    out = ehdr + load + notes + note
    return out + bytes(4096 - len(out)) + code


def halt_image():
    """16 MiB that begin like an ext4 file system: no guest looks."""
    disk = bytearray(1 << 20)
    struct.pack_into("<IIII", disk, 1024, 64, 256, 0, 0)
    struct.pack_into("<H", disk, 1024 + 56, 0xef53)
    struct.pack_into("<I", disk, 1024 + 96, 0x40)
    return bytes(disk)


class Tree:
    def __init__(self, bin_folder):
        self.dir = tempfile.mkdtemp(prefix="mica-halt.", dir="/var/tmp" if ROOT else None)
        os.chmod(self.dir, 0o755)
        for folder in ("bin", "kernel/min", "kernel/emulated", "image"):
            os.makedirs(os.path.join(self.dir, folder))
        for name in ("mica", "vmm", *DAEMONS):
            shutil.copy(os.path.join(bin_folder, name), os.path.join(self.dir, "bin", name))
        for name, data in (("kernel/min/vmlinux", halt_kernel()), ("kernel/emulated/vmlinux", halt_kernel()), ("image/min.ext4", halt_image())):
            with open(os.path.join(self.dir, name), "wb") as f:
                f.write(data)

    def path(self, name):
        return os.path.join(self.dir, name)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def processes():
    """pid → (parent, comm) of all that run."""
    out = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                head, rest = f.read().rsplit(")", 1)
        except OSError:
            continue
        if rest.split()[0] not in "ZX":
            out[int(pid)] = (int(rest.split()[1]), head.split("(", 1)[1])
    return out


class Up:
    def __init__(self, tree, state="state", net=False, words=(), env=None, conf=None, program="bin/mica", group="vm"):
        self.group, self.tree, self.state, self.port, self.lines = group, tree, tree.path(state), free_port(), []
        network = "{bridge: brcrash, gateway: 10.78.1.1/24}" if net else "{mode: none}"
        self.conf = tree.path(state + ".yaml")
        with open(self.conf, "w") as f:
            f.write(conf or "config:\n  graceful_shutdown: false\n  host_groups:\n"
                    "  - {name: %s, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: %s}\n  api: {port: %d}\n"
                    % (group, network, self.port))
        self.p = subprocess.Popen([tree.path(program), "up", self.conf, "--state", self.state, *([] if net else ["--no-net"]), *words],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tree.dir, start_new_session=True,
                                  env=dict({"HOME": tree.dir, "PATH": os.environ["PATH"]}, **(env or {})))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.p.stdout:
            self.lines.append(line)

    def text(self):
        return "".join(self.lines)

    def says(self, pattern, limit_s=20, after=0):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = re.search(pattern, "".join(self.lines[after:]))
            if found:
                return found
            if self.p.poll() is not None and not re.search(pattern, "".join(self.lines[after:])):
                time.sleep(0.1)
                return re.search(pattern, "".join(self.lines[after:]))
            time.sleep(0.01)
        return None

    def call(self, method, target, body=None, limit_s=20):
        """(status, value), or (None, why): the connection broke."""
        c = http.client.HTTPConnection("127.0.0.1", timeout=limit_s)
        try:
            c.sock = socket.socket(socket.AF_UNIX)
            c.sock.settimeout(limit_s)
            here = os.open(self.state, os.O_PATH)
            try:
                c.sock.connect("/proc/self/fd/%d/api.sock" % here)
            finally:
                os.close(here)
            c.request(method, target, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            r = c.getresponse()
            data = r.read().decode()
            return r.status, json.loads(data) if data[:1] in "[{" and data else data
        except (OSError, http.client.HTTPException) as why:
            return None, repr(why)
        finally:
            c.close()

    def serving(self, limit_s=30):
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.p.poll() is None:
            if self.call("GET", "/hostgroup", limit_s=5)[0] == 200:
                return True
            time.sleep(0.02)
        return False

    def nodes(self):
        status, found = self.call("GET", "/nodes")
        return {n["hostname"]: n for n in found} if status == 200 else None

    def pids(self):
        """comm without mica- → pid, of the daemon's own processes"""
        return {name[5:] if name.startswith("mica-") else name: pid for pid, (parent, name) in processes().items() if parent == self.p.pid}

    def stop(self, sig=signal.SIGTERM, limit_s=60):
        self.p.send_signal(sig)
        try:
            return self.p.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.p.kill()
            return "hangs"


def vmms():
    return {pid for pid, (_, name) in processes().items() if name == "mica-vmm"}
