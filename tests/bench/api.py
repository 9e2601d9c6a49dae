#!/usr/bin/env python3
"""api.py BIN-FOLDER [PART...]: what the API costs: real front, core and agent, with made-up VM processes (tests/it/loadrig.py), so without a guest's
own costs. Parts: exec tls cp calls. Beside each figure something well known, measured in the same run: posix_spawn for a command, openssl s_server
for TLS, python's http.server for a plain download. Rates depend on what else the machine does; CPU time per piece hardly does."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "it"))

from client import query  # noqa: E402
from loadrig import Daemon, cpu_s, free_port, raise_limits  # noqa: E402

SECONDS = float(os.environ.get("BENCH_API_S", "2"))  # of each rate
MIB = int(os.environ.get("BENCH_API_MIB", "256"))    # of each copy


def say(what, ours, theirs="", how=""):
    print("%-46s %16s %18s   %s" % (what, ours, theirs, how), flush=True)


def ticks_s(pid, first):
    """Two fields of stat, in 1/100 s: 11 a process with its threads, 13 its children that were waited for."""
    with open("/proc/%d/stat" % pid) as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[first]) + int(words[first + 1])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU of front, core, agent (its children apart) and the made-up VMs between start and stop."""

    def __init__(self, d):
        self.d = d
        self.before = self.now()

    def now(self):
        d = self.d
        agent = d.agents[0].pid
        return [cpu_s(d.front.pid), cpu_s(d.core.pid), cpu_s(agent), ticks_s(agent, 13), cpu_s(d.hosts)]

    def per(self, n, unit):
        """Text: each one's share of a piece, in unit seconds."""
        time.sleep(0.05)  # the last child is waited for
        spent = [(a - b) / n / unit for a, b in zip(self.now(), self.before)]
        return "front %.1f, core %.1f, agent %.1f + its children %.1f, the stand-in %.1f" % tuple(spent)


def connect(address):
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.connect(address if isinstance(address, str) else address[:2])
    if not isinstance(address, str):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(address) == 3:
            s = address[2].wrap_socket(s, server_hostname="localhost")
    return s


def round_trips(address, request, end, seconds):
    """How many of these requests one client gets through, on one connection."""
    s = connect(address)
    n, until = 0, time.monotonic() + seconds
    began = time.monotonic()
    while time.monotonic() < until:
        s.sendall(request)
        got = b""
        while not got.endswith(end):
            piece = s.recv(65536)
            if not piece:
                raise RuntimeError("the connection ended: %r" % got[-200:])
            got += piece
        n += 1
    s.close()
    return n, time.monotonic() - began


def request(method, path, body=b""):
    return ("%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, path, len(body))).encode() + body


EXEC = request("POST", query("/vm/load-1/exec", cmd="/bin/true", stdio="base64"))
EXEC_END = b'"exit_code":0,"signal":""}\n\r\n0\r\n\r\n'


def part_exec(d, plain):
    """A command that does nothing, one after the other on one connection that is kept."""
    spawn = os.posix_spawn if hasattr(os, "posix_spawn") else None
    n, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        os.waitpid(spawn("/bin/true", ["/bin/true"], os.environ), 0)
        n += 1
    floor = n / (time.monotonic() - began)
    for name, daemon, address in (("unix", d, d.unix), ("HTTP", plain, plain.tcp), ("HTTPS", d, d.tcp)):
        meter = Meter(daemon)
        n, took = round_trips(address, EXEC, EXEC_END, SECONDS)
        say("exec of /bin/true over %s" % name, "%.0f / s" % (n / took), "%.0f / s (%.2f)" % (floor, n / took / floor), "beside posix_spawn and wait in a loop, and the ratio")
        say("", "", "", "CPU in us: " + meter.per(n, 1e-6))
    n, took = round_trips(d.unix, request("GET", "/info"), b"}", SECONDS)
    say("GET /info (front, core and back) over unix", "%.0f / s" % (n / took), "", "one client, one connection")


def s_time(port, reuse):
    """(handshakes, seconds) of openssl s_time."""
    argv = ["openssl", "s_time", "-connect", "127.0.0.1:%d" % port, "-tls1_2", "-time", str(max(1, int(SECONDS))), "-reuse" if reuse else "-new"]
    out = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    found = re.findall(r"(\d+) connections in (\d+) real seconds", out)
    return int(found[-1][0]) if found else 0


def part_tls(d, plain):
    port = free_port()
    tls = os.path.join(d.state, "tls")
    files = sorted(os.listdir(tls))
    cert, key = (os.path.join(tls, next(f for f in files if word in f)) for word in ("cert", "key"))
    argv = ["openssl", "s_server", "-accept", str(port), "-cert", cert, "-key", key, "-tls1_2", "-quiet", "-www"]
    other = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        for what, reuse in (("full", False), ("resumed", True)):
            ms = []
            rates = []
            for p, pid in ((d.tcp[1], d.front.pid), (port, other.pid)):
                before, began = cpu_s(pid), time.monotonic()
                n = s_time(p, reuse)
                rates.append(n / (time.monotonic() - began))
                ms.append((cpu_s(pid) - before) * 1000 / max(n, 1))
            say("TLS handshakes, %s" % what, "%.0f / s" % rates[0], "%.0f / s (%.2f)" % (rates[1], rates[0] / max(rates[1], 1)),
                "openssl s_time -%s at front and at openssl s_server, same P-256 key, TLS 1.2, and the ratio" % ("reuse" if reuse else "new"))
            say("", "%.2f ms" % ms[0], "%.2f ms" % ms[1], "CPU of the server for each")
    finally:
        other.kill()
        other.wait()


def put(address, path, blob, times):
    s = connect(address)
    head = ("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % (path, len(blob) * times)).encode()
    began = time.monotonic()
    s.sendall(head)
    for _ in range(times):
        s.sendall(blob)
    got = s.recv(65536)
    took = time.monotonic() - began
    s.close()
    if b" 200 " not in got:
        raise RuntimeError("cp in: %r" % got[:300])
    return took


def get(address, path, close=False, method="GET"):
    """(bytes of the answer, seconds)"""
    s = connect(address)
    buffer, n, tail = bytearray(1 << 20), 0, b""
    began = time.monotonic()
    s.sendall(("%s %s HTTP/1.%d\r\nHost: a\r\n\r\n" % (method, path, 0 if close else 1)).encode())
    while True:
        try:
            got = s.recv_into(buffer)
        except ssl.SSLEOFError:
            got = 0
        if not got:
            break
        n += got
        tail = (tail + bytes(buffer[max(0, got - 8):got]))[-8:]
        if not close and tail.endswith(b"\r\n0\r\n\r\n"):
            break
    took = time.monotonic() - began
    s.close()
    return n, took


def part_cp(d, plain):
    """One file in and out. Its bytes stay in the page cache: what is measured is the way, not the disk."""
    blob, there = os.urandom(1 << 20), os.path.join(d.dir, "copied")
    os.chmod(d.dir, 0o777)
    path = query("/vm/load-1/cp", path=there, mode="binary", uid=0)
    refs = {}
    for name, argv, close in (("HTTP", [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", d.dir], True),
                              ("HTTPS", ["openssl", "s_server", "-quiet", "-tls1_2", "-HTTP", "-cert", os.path.join(d.state, "tls", "cert.pem"),
                                         "-key", os.path.join(d.state, "tls", "key.pem"), "-accept"], True)):
        port = free_port()
        with open(os.path.join(d.dir, "served"), "wb") as f:
            for _ in range(MIB):
                f.write(blob)
        p = subprocess.Popen([*argv, str(port)], cwd=d.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.7)
        try:
            address = ("127.0.0.1", port) + ((d.context,) if name == "HTTPS" else ())
            before = ticks_s(p.pid, 11)
            n, took = get(address, "/served", close=True)
            refs[name] = (n / took / 1048576, (ticks_s(p.pid, 11) - before) / (n / 1048576))
        except OSError as why:
            refs[name] = (0, 0)
            print("# %s: %s" % (argv[0], why))
        finally:
            p.kill()
            p.wait()
    os.unlink(os.path.join(d.dir, "served"))
    for name, daemon, address in (("unix", d, d.unix), ("HTTP", plain, plain.tcp), ("HTTPS", d, d.tcp)):
        folder = daemon.dir
        os.chmod(folder, 0o777)
        there = os.path.join(folder, "copied")
        path = query("/vm/load-1/cp", path=there, mode="binary", uid=0)
        meter = Meter(daemon)
        took = put(address, path, blob, MIB)
        say("cp in of %d MiB over %s" % (MIB, name), "%.0f MiB/s" % (MIB / took), "", "CPU in ms a MiB: " + meter.per(MIB, 1e-3))
        meter = Meter(daemon)
        n, took = get(address, path)
        if n < MIB << 20:
            raise RuntimeError("cp out: %d bytes" % n)
        ref = refs.get(name)
        say("cp out over %s" % name, "%.0f MiB/s" % (MIB / took), "%.0f MiB/s (%.2f)" % (ref[0], MIB / took / ref[0]) if ref and ref[0] else "",
            ("beside %s, CPU there %.1f ms a MiB; ours: " % ("http.server (sendfile)" if name == "HTTP" else "openssl s_server", ref[1] * 1000) if ref and ref[0] else "CPU in ms a MiB: ") +
            meter.per(MIB, 1e-3))
        os.unlink(there)
    for name, address in (("unix", d.unix), ("HTTPS", d.tcp)):
        meter = Meter(d)
        n, took = get(address, query("/vm/load-1/exec", cmd="head", args=["-c", str(MIB << 20), "/dev/zero"], stdio="base64"), method="POST")
        say("exec's output over %s, base64 in NDJSON" % name, "%.0f MiB/s" % (MIB / took), "", "CPU in ms a MiB of output: " + meter.per(MIB, 1e-3))


def calls(pid, work, n):
    """System calls a piece, by strace -c; '' without strace."""
    if not shutil.which("strace"):
        return "no strace here"
    out = "/tmp/mica-bench-%d.strace" % pid
    p = subprocess.Popen(["strace", "-c", "-U", "calls,name", "-o", out, "-p", str(pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    work(n)
    p.send_signal(signal.SIGINT)
    p.wait()
    with open(out) as f:
        rows = [line.split() for line in f if re.match(r"\s*\d+ \S+$", line)]
    os.unlink(out)
    total = sum(int(r[0]) for r in rows if r[1] != "total")
    top = sorted(((int(r[0]) / n, r[1]) for r in rows if r[1] != "total"), reverse=True)[:9]
    return "%.1f: %s" % (total / n, ", ".join("%s %.1f" % (name, c) for c, name in top))


def part_calls(d, plain):
    """System calls of one exec round trip."""
    def execs(n):
        s = connect(d.unix)
        for _ in range(n):
            s.sendall(EXEC)
            got = b""
            while not got.endswith(EXEC_END):
                got += s.recv(65536)
        s.close()
    for name, pid in (("front", d.front.pid), ("core", d.core.pid), ("agent", d.agents[0].pid)):
        say("system calls of an exec in %s" % name, "", "", calls(pid, execs, 200))


def main():
    raise_limits()
    want = sys.argv[2:] or ["exec", "tls", "cp", "calls"]
    d = Daemon(sys.argv[1], n_vms=1)
    plain = Daemon(sys.argv[1], n_vms=1, tls=False)
    try:
        say("", "ours", "beside it (ratio)", "how")
        for name in want:
            globals()["part_" + name](d, plain)
    finally:
        d.close()
        plain.close()


if __name__ == "__main__":
    sys.exit(main())
