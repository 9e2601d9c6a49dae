#!/usr/bin/env python3
"""cli_tls.py MICA FRONT AGENT [WORD...]: the command line over HTTPS: against the real front and agent, then against Python's ssl for what
front never does. TAP on stdout."""
import hashlib
import os
import pty
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from fakecore import T, Rig  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()
MICA = os.path.abspath(sys.argv[1])


class World:
    def __init__(self, rig):
        self.rig, self.dir = rig, tempfile.mkdtemp(prefix="mica-tls.")
        self.pem = rig.core.identity.get(T["CERT"])
        self.fingerprint = rig.core.identity.get(T["FINGERPRINT"]).hex(":")
        self.url = "https://127.0.0.1:%d" % rig.tls_address[1]
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "MICA_STATE": self.dir + "/none", "MICA_URL": self.url}

    def write(self, name, data):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def run(self, *words, stdin=b"", **env):
        return subprocess.run([MICA, *words], input=stdin, capture_output=True, timeout=60, env={**self.env, **env})

    def pinned(self, *words, **more):
        return self.run(*words, MICA_FINGERPRINT=self.fingerprint, **more)


def good(done, out, what):
    if not tap.ok(done.returncode == 0 and out in done.stdout, what):
        print("# %d %r %r" % (done.returncode, done.stdout[:300], done.stderr[:600]))


def bad(done, code, words, what):
    if not tap.ok(done.returncode == code and all(w in done.stderr for w in words) and done.stderr.count(b"\n") == 3, what):
        print("# %d %s" % (done.returncode, done.stderr.decode()))


def case_pin(w):
    for text in (w.fingerprint, w.fingerprint.upper().replace(":", ""), "sha256:" + w.fingerprint.replace(":", "")):
        good(w.run("vm", "list", "--fingerprint", text), b"demo-1", "--fingerprint %.20s…" % text)
    good(w.pinned("vm", "list"), b"demo-1", "MICA_FINGERPRINT")
    other = hashlib.sha256(b"other").hexdigest()
    bad(w.run("vm", "list", "--fingerprint", other), 1, [w.url.encode(), b"another fingerprint", b"fix: compare --fingerprint"], "another fingerprint: three lines")
    bad(w.pinned("vm", "list", "--fingerprint", other), 1, [b"another fingerprint"], "… also over the environment's")
    bad(w.run("vm", "list", "--fingerprint", "12:34"), 2, [b"SHA-256"], "no fingerprint at all")
    bad(w.run("vm", "list"), 2, [b"--fingerprint", b"--ca-file"], "nobody to trust: what to give")
    bad(w.run("vm", "list", "--url", "http://127.0.0.1:1", "--fingerprint", other), 2, [b"https://"], "--fingerprint with http://")
    bad(w.run("vm", "list", "--fingerprint", other, "--ca-file", "/x"), 2, [b"give one of them"], "both")
    bad(w.pinned("vm", "list", "--url", "https://127.0.0.1:%d" % w.rig.tcp_address[1]), 1, [b"TLS", b"http://"], "https to a port without TLS")
    bad(w.run("vm", "list", "--url", "http://127.0.0.1:%d" % w.rig.tls_address[1]), 1, [b"HTTPS only"], "http to a port with TLS")
    bad(w.pinned("vm", "list", "--url", "https://127.0.0.1:1"), 1, [b"refused"], "nobody there")


def case_ca(w):
    ca = w.write("ca.pem", w.pem)
    named = w.url.replace("127.0.0.1", "localhost")
    good(w.run("vm", "list", "--url", named, "--ca-file", ca), b"demo-1", "--ca-file with a name")
    good(w.run("vm", "list", "--url", named, MICA_CA_FILE=ca), b"demo-1", "MICA_CA_FILE")
    bad(w.run("vm", "list", "--url", named, "--ca-file", "/nope"), 1, [b"--ca-file"], "a file that is not there")
    bad(w.run("vm", "list", "--url", named, "--ca-file", w.write("bad.pem", b"x")), 1, [b"PEM"], "a file that is none")


def case_own_state(w):
    w.write("state/tls/cert.pem", w.pem)
    good(w.run("vm", "list", MICA_STATE=w.dir + "/state"), b"demo-1", "on this machine the daemon's own file is found")


def case_streams(w):
    blob = os.urandom(6 << 20)
    good(w.pinned("vm", "exec", "demo-1", "--", "sha256sum", stdin=blob), hashlib.sha256(blob).hexdigest().encode(), "6 MiB through exec's stdin")
    done = w.pinned("vm", "exec", "demo-1", "--", "sh", "-c", "head -c 9000000 /dev/zero; exit 7")
    tap.ok((done.returncode, len(done.stdout)) == (7, 9000000), "9 MB of output, and the exit code")
    src, there, back = w.write("src", blob), os.path.join(w.rig.dir, "there"), os.path.join(w.dir, "back")
    os.chmod(w.rig.dir, 0o777)
    good(w.pinned("vm", "cp", src, "demo-1:" + there), b"", "cp in")
    good(w.pinned("vm", "cp", "demo-1:" + there, back), b"", "cp out")
    with open(back, "rb") as f:
        tap.ok(f.read() == blob, "the same bytes")


def case_shell(w):
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(MICA, [MICA, "vm", "shell", "demo-1"], {**w.env, "MICA_FINGERPRINT": w.fingerprint})
    time.sleep(1)
    os.write(fd, b"echo he''llo; exit\r")
    data = b""
    try:
        while b"hello" not in data:
            data += os.read(fd, 1000)
        while os.read(fd, 1000):
            pass
    except OSError:
        pass
    tap.ok(os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0 and b"hello" in data, "shell")


def serve(w, talk, high=None):
    """A TLS server of Python's, with front's certificate, for one connection."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(w.write("c.pem", w.pem), w.write("k.pem", w.rig.core.identity.get(T["KEY"])))
    if high:
        c.minimum_version = high
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()

    def one():
        raw = s.accept()[0]
        try:
            talk(raw, c)
        except OSError:
            pass
        raw.close()
        s.close()
    threading.Thread(target=one, daemon=True).start()
    return "https://127.0.0.1:%d" % s.getsockname()[1]


def case_odd_servers(w):
    def answer(body, length):
        def talk(raw, c):
            t = c.wrap_socket(raw, server_side=True)
            t.recv(10000)
            t.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (length, body))
            t.close()
        return talk
    good(w.pinned("vm", "list", "--json", "--url", serve(w, answer(b"[]", 2))), b"[]", "Python's TLS")
    bad(w.pinned("vm", "list", "--url", serve(w, answer(b"[", 2))), 1, [b"in the middle"], "an answer that is cut")
    bad(w.pinned("vm", "list", "--url", serve(w, lambda raw, c: c.wrap_socket(raw, server_side=True), ssl.TLSVersion.TLSv1_3)), 1, [b"TLS"], "TLS 1.3 only")
    bad(w.pinned("vm", "list", "--url", serve(w, lambda raw, c: raw.recv(100))), 1, [b"TLS"], "a server that hangs up")


def main():
    rig = Rig(sys.argv[2], sys.argv[3])
    w = World(rig)
    for name, case in list(globals().items()):
        if name.startswith("case_") and (not sys.argv[4:] or any(x in name for x in sys.argv[4:])):
            print("# " + name, flush=True)
            try:
                case(w)
            except Exception as why:
                tap.ok(False, "%s: %r" % (name, why))
    shutil.rmtree(w.dir, ignore_errors=True)
    tap.ok(rig.close() == 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
