#!/usr/bin/env python3
"""up_tls.py BIN-FOLDER: `mica up` with the real core and front, no VM and no KVM: its own certificate, an operator's, a change of it by SIGHUP.
TAP on stdout."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402

tap = Tap()
top = tempfile.mkdtemp(prefix="mica-up.", dir="/var/tmp" if os.getuid() == 0 else None)
os.chmod(top, 0o755)


def write(name, data):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Up:
    """A daemon in the foreground; .lines is what it said so far."""

    def __init__(self, api, *words):
        self.port, self.lines = free_port(), []
        config = write("m.yaml", b"config:\n  host_groups:\n  - {name: vm, count: 0, ram_mb: 64, network: {mode: none}}\n  api:\n    port: %d\n%s" % (self.port, api))
        self.p = subprocess.Popen([top + "/bin/mica", "up", config, "--state", top + "/state", "--no-net", "--flavour", "min", "--kvm", "/dev/null", *words],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=top)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.p.stdout:
            self.lines.append(line)

    def says(self, pattern, limit_s=10):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = re.search(pattern, "".join(self.lines))
            if found:
                return found
            time.sleep(0.02)
        print("# no %r in %s" % (pattern, self.lines))
        return None

    def info(self, *words, **env):
        return subprocess.run([top + "/bin/mica", "info", "--url", "https://127.0.0.1:%d" % self.port, *words], capture_output=True, text=True,
                              timeout=20, env=dict({"HOME": top, "MICA_STATE": top + "/state"}, **env))

    def mica(self, *words, stdin="", **env):
        return subprocess.run([top + "/bin/mica", *words], capture_output=True, text=True, input=stdin, timeout=20, cwd=top,
                              env=dict({"HOME": top, "MICA_STATE": top + "/state"}, **env))

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(20)


def make_cert(name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout",
                    top + "/" + name + ".key", "-out", top + "/" + name + ".pem", "-days", "3"], check=True, capture_output=True)
    out = subprocess.run(["openssl", "x509", "-in", top + "/" + name + ".pem", "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True)
    return out.stdout.strip().split("=")[1]


def join(up):
    """what join prints is all that somebody elsewhere needs"""
    done = up.mica("join")
    tap.ok(done.returncode == 1 and "this machine alone" in done.stderr, "join: the API listens on this machine alone")
    done = up.mica("join", "--host", "127.0.0.1")
    elsewhere = dict(HOME=top + "/elsewhere", MICA_STATE=top + "/elsewhere/none")
    added = up.mica("context", "add", "far", "-", "--force", "--use", stdin=done.stdout, **elsewhere)
    tap.ok(done.returncode == 0 and added.returncode == 0, "join, context add: %s %s" % (done.stderr.strip(), added.stdout.strip()))
    info = up.mica("vm", "list", **elsewhere)
    tap.ok(info.returncode == 0 and "HOSTNAME" in info.stdout, "… and the daemon answers: %s" % info.stderr)


def own():
    marks = []
    for _ in range(2):
        up = Up(b"", "--tls")
        tap.ok(up.says(r"API +https://127\.0\.0\.1:%d" % up.port), "up --tls says https")
        found = up.says(r"TLS +fingerprint ([0-9A-F:]{95})\n")
        marks.append(found and found[1])
        tap.ok(up.info().returncode == 0, "on this machine the command line trusts it and finds the token")
        tap.ok(up.info("--fingerprint", str(marks[-1])).returncode == 0, "with the fingerprint that was printed")
        join(up)
        tap.ok(up.stop() == 0, "stopped")
        tap.ok(up.mica("join", "--host", "127.0.0.1").returncode == 1, "join: no daemon, nothing to join")
    tap.ok(marks[0] and marks[0] == marks[1], "made once: the same at the second start")


def operators():
    a, b = make_cert("a"), make_cert("b")
    for kind in ("pem", "key"):
        shutil.copy(top + "/a." + kind, top + "/use." + kind)
    up = Up(b"    tls: {cert_file: use.pem, key_file: use.key}\n")
    tap.ok(up.says("fingerprint " + a), "an operator's certificate")
    shutil.copy(top + "/b.pem", top + "/use.pem")
    up.p.send_signal(signal.SIGHUP)
    tap.ok(up.says("keeps its certificate: the private key does not belong"), "SIGHUP with half of a change: said, and nothing changed")
    tap.ok(up.info("--fingerprint", a).returncode == 0, "the old one is still shown")
    shutil.copy(top + "/b.key", top + "/use.key")
    up.p.send_signal(signal.SIGHUP)
    tap.ok(up.says("has the fingerprint " + b), "SIGHUP with both")
    tap.ok(up.info("--fingerprint", b).returncode == 0 and up.info("--fingerprint", a).returncode == 1, "new connections see it")
    join(up)
    os.unlink(top + "/use.pem")
    up.p.send_signal(signal.SIGHUP)
    tap.ok(up.says("use.pem: No such file") and up.info("--fingerprint", b).returncode == 0, "a file that is gone: said, and nothing changed")
    tap.ok(up.stop() == 0, "stopped")


def exposed():
    up = Up(b"    bind_address: 0.0.0.0\n")
    tap.ok(up.says("would be plain HTTP.*mica up --tls") and up.p.wait(10) == 1, "plain HTTP beyond this machine is refused with the remedy")
    up = Up(b"    bind_address: 0.0.0.0\n", "--tls")
    tap.ok(up.says(r"API +https://0\.0\.0\.0") and up.stop() == 0, "with --tls it is not")


def main():
    for name in ("mica", "core", "front", "jail", "vmm"):
        os.makedirs(top + "/bin", exist_ok=True)
        shutil.copy(os.path.join(sys.argv[1], name), top + "/bin/" + name)
    write("kernel/min/vmlinux", b"\x7fELF")
    write("image/min.ext4", bytes(1 << 20))
    try:
        own()
        operators()
        exposed()
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
