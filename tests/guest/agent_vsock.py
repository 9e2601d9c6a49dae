#!/usr/bin/env python3
"""The agent in a real guest, over vsock: init, hello, exec, copies, growth, power-off. TAP.
usage: agent_vsock.py VMM KERNEL IMAGE [KVM]"""
import hashlib
import io
import json
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
for d in (HERE, os.path.join(HERE, "../it")):
    sys.path.insert(0, d)
import agent_wire as w  # noqa: E402
import vmmctl  # noqa: E402

VOLUME_BYTES = int(os.environ.get("MICA_TEST_VOLUME", 64 << 20))
count = failed = 0


def ok(cond, what, more=""):
    global count, failed
    count += 1
    failed += not cond
    print(("ok" if cond else "not ok"), count, "-", what)
    if not cond and more != "":
        print("#", str(more)[:800])
    sys.stdout.flush()


class Guest(w.Agent):
    """agent_wire.Agent's helpers, on a VM instead of a process."""

    def __init__(self, program, kernel, image, kvm):
        self.tmp = tempfile.mkdtemp(prefix="mica-guest-")
        self.disk = self.tmp + "/disk.img"
        shutil.copyfile(image, self.disk)
        os.truncate(self.disk, 1 << 30)
        self.vmm = vmmctl.Vmm(program, kvm)
        self.vmm.listen(1025)
        self.t0 = time.monotonic()
        self.vmm.boot(kernel, "console=ttyS0 quiet panic=-1 root=/dev/vda rw rootfstype=ext4 init=/sbin/init MICA_HOST=demo-1",
                      disks=[(self.disk, False)])

    def stream(self, sock):
        s = w.Stream.__new__(w.Stream)
        s.s, s.rest = sock, b""
        sock.settimeout(60)
        return s

    def hello(self):
        s = self.stream(self.vmm.accept(60)[1])
        return s, s.recv()

    def open(self, **kw):
        return self.stream(self.vmm.connect(1024))


def test_exec(g):
    m, out, _ = g.exec("sh", ["-c", "id -un; hostname; pwd; exit 7"])
    ok(m.num(w.T_CODE) == 7 and out == b"ubuntu\ndemo-1\n/home/ubuntu\n", "a command as ubuntu, exit code 7", (m, out))
    m, out, _ = g.exec("nope")
    ok(m.kind == w.ERR and m.text(w.T_CODE_WORD) == "127", "not found: 127", m)
    m, out, _ = g.exec("id", ["-u"], more=[(w.T_UID, 0)])
    ok(out == b"0\n", "root when asked", out)
    data = os.urandom(1 << 20)
    m, out, _ = g.exec("cat", stdin=data[:200000])
    ok(out == data[:200000], "stdin through cat", len(out))
    s = g.open()
    s.send(w.EXEC, [(w.T_CMD, "sh"), (w.T_ARG, "-c"), (w.T_ARG, "exec sleep 1000")])
    pid = s.recv().num(w.T_PID)
    s.close()
    end, gone = time.time() + 10, False
    while time.time() < end and not gone:
        gone = g.exec("kill", ["-0", str(pid)], more=[(w.T_UID, 0)])[0].num(w.T_CODE) != 0
    ok(gone, "a closed stream ends the command")


def test_volume(g):
    n, t = 0, time.monotonic()
    h, want = hashlib.sha256(), hashlib.sha256()
    s = g.open()
    s.send(w.EXEC, [(w.T_CMD, "sh"), (w.T_ARG, "-c"), (w.T_ARG, f"yes 0123456789abcde | head -c {VOLUME_BYTES}")])
    while (m := s.recv()) is not None and m.kind != w.EXIT:
        if m.kind == w.STDOUT:
            h.update(m.get(w.T_DATA))
            n += len(m.get(w.T_DATA))
    for _ in range(VOLUME_BYTES >> 20):
        want.update(b"0123456789abcde\n" * 65536)
    sec = time.monotonic() - t
    ok(m is not None and m.num(w.T_CODE) == 0 and n == VOLUME_BYTES and h.digest() == want.digest(),
       f"{VOLUME_BYTES >> 20} MiB of output arrive unchanged, {n / sec / 1e6:.0f} MB/s", (n, m))


def test_copy(g):
    m = g.cp_in("~/in.bin", "binary", data := os.urandom(2 << 20), [(w.T_PERM, 0o640)])
    ok(m.kind == w.OK, "copy in", m)
    meta, got, whole = g.cp_out("~/in.bin", "binary")
    ok(whole and got == data and meta.num(w.T_PERM) == 0o640, "copy out the same", meta)
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for i in range(50):
            e = tarfile.TarInfo(f"d{i % 5}/f{i}")
            e.size = 1000 + i
            t.addfile(e, io.BytesIO(bytes([i]) * e.size))
    m = g.cp_in("/home/ubuntu/tree", "tar", b.getvalue())
    meta, got, whole = g.cp_out("/home/ubuntu/tree", "tar")
    with tarfile.open(fileobj=io.BytesIO(got)) as t:
        good = sum(e.isfile() and t.extractfile(e).read() == bytes([int(e.name.split("f")[1])]) * e.size for e in t)
    ok(m.kind == w.OK and whole and good == 50, "a tree in and out", (m, good))


def test_terminal(g):
    s = g.open()
    s.send(w.SHELL, [(w.T_COLS, 100), (w.T_ROWS, 40)])
    s.recv()
    s.send(w.STDIN, [(w.T_DATA, b"stty size; tty; echo mar''ker\nexit 3\n")])
    out = b""
    while (m := s.recv()) is not None and m.kind == w.STDOUT:
        out += m.get(w.T_DATA)
    ok(b"40 100" in out and b"/dev/pts/" in out and b"marker" in out and m is not None and m.num(w.T_CODE) == 3, "a shell on a terminal", (m, out))


def test_background(g):
    """Replay and gaps beside a host that does not read; a watch; an upload in chunks."""
    m = g.ask(w.BG_START, [(w.T_CMD, "sh"), (w.T_ARG, "-c"), (w.T_ARG, "sleep 0.3; yes 0123456789abcde | head -c 4000000; echo end; exit 3")])
    ident = [(w.T_EXEC_ID, m.text(w.T_EXEC_ID))]
    ok(m.kind == w.BG_IS and m.text(w.T_CWD) and m.num(w.T_UID) == 1000, "a command in the background", m)
    s = g.open()
    s.send(w.BG_LOGS, ident + [(w.T_FOLLOW, 1)])
    first = s.recv()
    m = g.ask(w.BG_WAIT, ident + [(w.T_TIMEOUT_MS, 55000)])
    ok(m.num(w.T_RUNNING) == 0 and m.num(w.T_CODE) == 3 and m.num(w.T_BYTES_WRITTEN) == 4000004, "it ends though its follower does not read", m)
    frames = [first]
    while (m := s.recv()) is not None and m.kind != w.OK:
        frames.append(m)
    s.s.close()
    got = sum(len(m.get(w.T_DATA)) for m in frames if m.kind == w.STDOUT)
    gone = sum(m.num(w.T_DROPPED_BYTES) for m in frames if m.kind == w.GAP)
    ok(first.kind == w.STARTED and gone and got + gone == 4000004 and frames[-1].kind == w.EXIT and m is not None, "the follower then gets gaps to the byte, and the exit", (got, gone))
    ok(g.ask(w.BG_REAP, ident).kind == w.OK and g.ask(w.BG_INFO, ident).num(w.T_STATUS) == 410, "reaped is gone")
    s = g.open()
    s.send(w.FS_WATCH, [(w.T_PATH, "/tmp"), (w.T_PATTERN, "*.txt"), (w.T_EVENT, "create"), (w.T_ONE_SHOT, 1)])
    m = s.recv()
    g.exec("touch", ["/tmp/x.dat", "/tmp/y.txt"])
    e, last = s.recv(), s.recv()
    ok(m.kind == w.OK and e.text(w.T_PATH) == "/tmp/y.txt" and e.text(w.T_EVENT) == "create" and last.kind == w.OK, "a watch", (m, e, last))
    s.s.close()
    folder = "~/.slicer-upload-" + "ab" * 16
    parts = [os.urandom(300000), os.urandom(1000)]
    for i, x in enumerate(parts):
        g.cp_in(f"{folder}/chunks/{i:06d}.chunk", "binary", x, [(w.T_PERM, 0o600)])
    g.cp_in(folder + "/manifest.json", "binary", json.dumps({
        "version": 2, "mode": "binary", "destination": "~/up", "uid": 4294967295, "gid": 4294967295, "permissions": "0600", "size": 301000,
        "copy_semantics": "cp-v1", "source_name": "up", "source_type": "file",
        "chunks": [{"index": i, "size": len(x), "sha256": hashlib.sha256(x).hexdigest()} for i, x in enumerate(parts)]}).encode(), [(w.T_PERM, 0o600)])
    agent = "/usr/local/bin/slicer-agent"
    m, out, _ = g.exec(agent, ["upload", "check"], more=[(w.T_UID, 0)])
    ok(m.num(w.T_CODE) == 0 and out == b"chunked-copy-v2\n", "upload check", (m, out))
    m, out, err = g.exec(agent, ["upload", "finalise", "--manifest", folder + "/manifest.json", "--uid", "4294967295", "--gid", "4294967295"], more=[(w.T_UID, 0)])
    meta, data, whole = g.cp_out("~/up", "binary")
    m2, out, _ = g.exec("sh", ["-c", "ls -A ~"])
    ok(m.num(w.T_CODE) == 0 and whole and data == b"".join(parts) and b".slicer" not in out, "an upload in chunks", (m, err, out))


def test_machine(g, s):
    m = g.ask(w.GROW)
    ok(m.kind == w.OK and m.num(w.T_SIZE) == 1 << 30, "the root file system grows to its disk", m)
    m, out, _ = g.exec("df", ["-m", "/"])
    ok(int(out.split()[-5]) > 900, "df says so", out)
    s.send(w.IDENTITY, [(w.T_HOSTNAME, "demo-2"), (w.T_TIME_NS, 1900000000 * 10**9), (w.T_ENTROPY, os.urandom(32))], ident=5)
    m = s.recv()
    ok(m.kind == w.OK and m.id == 5, "a new identity", m)
    m, out, _ = g.exec("sh", ["-c", "hostname; date +%s"])
    ok(out.startswith(b"demo-2\n19000000"), "host name and clock are set", out)
    m = g.ask(w.HEALTH)
    ok(m.kind == w.HEALTH_IS and m.num(w.T_SYS_UPTIME_NS) > 0, "health", m)
    m = g.ask(w.STATS)
    ok(m.kind == w.STATS_IS and 64 << 20 < m.num(81) < 128 << 20 and m.num(87) > 0, "stats", m)
    s.s.close()
    s, m = g.hello()
    ok(m.kind == w.HELLO, "the hello comes again when its stream was closed", m)
    g.exec("kill", ["-9", "-1"], more=[(w.T_UID, 0)])
    s2, m = g.hello()
    ok(m.kind == w.HELLO, "init starts the agent again when it was killed", m)
    s2.send(w.SHUTDOWN, [(w.T_ACTION, "shutdown")], ident=9)
    m = s2.recv()
    ok(m is not None and m.kind == w.OK, "shutdown is acknowledged", m)
    end = time.monotonic() + 30
    while g.vmm.exited is None and time.monotonic() < end:
        try:
            f = g.vmm.recv(1)
        except EOFError:
            break
        if f:
            g.vmm.event(f)
    ok(g.vmm.exited is not None and g.vmm.exited[0] == "poweroff", "and the machine powers off", (g.vmm.exited, g.vmm.console()[-500:]))
    ok(os.system(f"command -v e2fsck >/dev/null || exit 0; e2fsck -fn {g.disk} >/dev/null 2>&1") == 0, "its disk is clean")


def main():
    program, kernel, image = sys.argv[1:4]
    g = Guest(program, kernel, image, sys.argv[4] if len(sys.argv) > 4 else "/dev/kvm")
    try:
        s, m = g.hello()
        ok(m is not None and m.kind == w.HELLO and m.num(w.T_PROTO) == 1, f"hello after {time.monotonic() - g.t0:.2f} s", m)
        test_exec(g)
        test_copy(g)
        test_terminal(g)
        test_volume(g)
        test_background(g)
        test_machine(g, s)
    except Exception as e:  # what the guest said helps more than a trace alone
        ok(False, f"{type(e).__name__}: {e}", g.vmm.console()[-800:])
    finally:
        g.vmm.proc.kill()
        g.vmm.proc.wait()
        shutil.rmtree(g.tmp, ignore_errors=True)
        shutil.rmtree(g.vmm.dir, ignore_errors=True)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
