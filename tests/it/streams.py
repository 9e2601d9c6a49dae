#!/usr/bin/env python3
"""streams.py BIN-FOLDER [WORD...]: streams that never lie: real front, core, agents and command line, made-up VM processes (loadrig.py). How a command
ended is told as it was; what is lost is an error and never exit code 0; nothing a client does leaves a command behind; who reads slowly
costs nobody memory. TAP on stdout; WORDs choose cases by name. """
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, Broken, WebSocket, payload, query, wait_for  # noqa: E402
from frames import Tap  # noqa: E402
from loadrig import Daemon, alive, children, memory_kib, raise_limits  # noqa: E402

tap = Tap()


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


def path(vm, cmd, *args, **params):
    params.setdefault("stdio", "base64")
    return query("/vm/%s/exec" % vm, cmd=cmd, args=list(args), **params)


def both(d):
    return (("unix", Api(d.unix)), ("https", Api(d.tcp)))


def mica(d, *words, over="unix", port=None, **how):
    """The command line: over the socket, or over HTTPS (port: a proxy's)."""
    env = dict(os.environ, HOME=d.dir, MICA_STATE=d.dir + "/nothing", **({"MICA_SOCKET": d.unix} if over == "unix" else {
        "MICA_URL": "https://127.0.0.1:%d" % (port or d.tcp[1]), "MICA_FINGERPRINT": d.fingerprint}))
    how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([d.mica, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **how)


def ended(p, seconds=20):
    try:
        out, err = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        p.kill()
        return "hangs", b"", b""
    return p.returncode, out, err


# ---- how it ended ----

def case_ends_told_apart(d):
    for name, api in both(d):
        ends = {}
        for what, script in (("zero", "exit 0"), ("seven", "exit 7"), ("255", "exit 255"), ("term", "kill -TERM $$"), ("kill", "kill -KILL $$"),
                             ("143", "exit 143")):
            last = api.frames("load-1", "sh", ["-c", script])[-1]
            ends[what] = (last["type"], last["exit_code"], last["signal"], last.get("error"), last.get("code"))
        same(ends, {"zero": ("exit", 0, "", None, None), "seven": ("exit", 7, "", None, None), "255": ("exit", 255, "", None, None),
                    "term": ("exit", 143, "TERM", None, None), "kill": ("exit", 137, "KILL", None, None), "143": ("exit", 143, "", None, None)},
             "%s: codes, signals, and a code that looks like a signal" % name)
        last = api.frames("load-1", "/no/such/thing")[-1]
        tap.ok((last["exit_code"], "pid" in last) == (127, False) and last["error"], "%s: what never started: %s" % (name, last["error"]))
    started = json.loads(d.api.call("POST", path("load-1", "sleep", "100", background=True))[2])
    got = d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=1" % started["exec_id"])
    same((got["timed_out"], got["running"], "exit_code" in got), (True, True, False), "a wait that is over is no exit")
    d.api.call("POST", "/vm/load-1/exec/%s/kill" % started["exec_id"], {"signal": "KILL"})
    got = d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=5" % started["exec_id"])
    same((got["timed_out"], got["running"], got["exit_code"], got["signal"]), (False, False, 137, "KILL"), "a kill is one")
    same([ended(mica(d, "vm", "exec", "load-1", "--", "sh", "-c", s))[0] for s in ("exit 0", "exit 9", "kill -TERM $$", "exit 255")], [0, 9, 143, 255],
         "the command line passes them on")


def lose(d, i, how):
    """Commands under way in VM i when something goes away: what each kind of client hears."""
    vm = d.vms[i]
    streams, buffered, shells, clis = [], [], [], []
    for _, api in both(d):
        conn = api.conn()
        conn.start("POST", path(vm, "sh", "-c", "echo before; exec sleep 1000"))
        streams.append((conn, conn.response().lines()))
        conn = api.conn()
        conn.start("POST", path(vm, "sleep", "1000", buffered=True))
        buffered.append(conn)
        conn = api.conn()
        shells.append(WebSocket(conn, query("/vm/%s/shell" % vm, shell="/bin/sh")))
    for over in ("unix", "https"):
        clis.append(mica(d, "vm", "exec", vm, "--", "sh", "-c", "echo before; exec sleep 1000", over=over))
    firsts = [[next(frames)["type"], payload(next(frames))] for _, frames in streams]
    same(firsts, [["started", b"before\n"]] * 2, "%s: they run" % how)
    for p in clis:
        p.stdout.read(7)
    wait_for(lambda: len(children(d.agents[i].pid)) == 8, 5)
    pids = children(d.agents[i].pid)
    if how == "the VM":
        d.order("die", vm)
    d.agents[i].kill()
    d.agents[i].wait()
    if how == "the VM, told late":
        time.sleep(0.05)  # well within the second or so that front gives core to hear of it, also on a busy machine
        d.order("die", vm)
    word = "agent_lost" if how == "the agent" else "vm_lost"
    for conn, frames in streams:
        last = list(frames)[-1]
        same((last["type"], last["exit_code"], last["signal"], last["code"]), ("exit", 255, "", word), "%s goes: %s" % (how, last["error"]))
    for conn in buffered:
        reply = conn.response()
        got = reply.json()
        same((reply.status, got["code"], "exit_code" in got), (502, word, False), "… buffered: 502 and no exit code")
    for ws in shells:
        op, data = ws.recv()
        while op == 2:
            op, data = ws.recv()
        same((op, struct.unpack(">H", data[:2])[0]), (8, 1011), "… a shell closes with 1011: %s" % data[2:].decode())
    for p in clis:
        code, out, err = ended(p)
        same((code, err.count(b"\n") >= 3), (125, True), "… the command line exits with 125: %s" % err.split(b"\n")[1].decode())
    for conn, _ in streams:
        conn.close()
    for pid in pids:  # what a killed agent leaves behind on this host; in a guest init ends with it
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def case_lost_agent(d):
    lose(d, 1, "the agent")
    status, headers, body = d.api.call("POST", path(d.vms[1], "true"))
    tap.ok(status in (502, 503) and json.loads(body)["error"], "then no command starts: %d %s" % (status, body))
    same(ended(mica(d, "vm", "exec", d.vms[1], "--", "true"))[0], 125, "… and the command line says 125")
    os.unlink(d.agent_paths[1])
    d.start_agent(1)
    same(d.api.run(d.vms[1], "true")[0], 0, "until it is back")


def case_lost_vm(d):
    lose(d, 2, "the VM")
    lose(d, 3, "the VM, told late")
    same(ended(mica(d, "vm", "exec", d.vms[2], "--", "true"))[0], 125, "a VM that is gone: 125")


class Cutter:
    """A TCP proxy that ends a connection after `after` bytes of answer: both ends, by FIN or by RST."""

    def __init__(self, target, after, rst):
        self.target, self.after, self.rst = target, after, rst
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(a,), daemon=True).start()

    def join(self, a):
        b = socket.create_connection(self.target)
        left = self.after
        while left > 0:
            for s in select.select([a, b], [], [], 20)[0] or [None]:
                data = s.recv(16384) if s else b""
                if not data:
                    left = 0
                elif s is a:
                    b.sendall(data)
                else:
                    a.sendall(data[:left])
                    left -= len(data)
        for s in (a, b):
            if self.rst:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()

    def close(self):
        self.listener.close()


def case_cut_connection(d):
    """HTTPS cut in the middle, as a network does: every client sees a broken answer; the command in the VM ends."""
    blob = os.urandom(4 << 20)
    with open(d.dir + "/blob", "wb") as f:
        f.write(blob)
    for rst in (False, True):
        cutter = Cutter(d.tcp[:2], 200000, rst)
        kind = "RST" if rst else "FIN"
        for what, start in (("an exec", ("POST", path("load-1", "cat", d.dir + "/blob"))),
                            ("a copy", ("GET", query("/vm/load-1/cp", path=d.dir + "/blob", mode="binary")))):
            conn = Api(("127.0.0.1", cutter.port, d.context)).conn(20)
            conn.start(*start)
            try:
                whole = conn.response().read()
                tap.ok(False, "%s cut by %s looks whole: %d bytes" % (what, kind, len(whole)))
            except (Broken, OSError) as why:
                tap.ok(True, "%s cut by %s is broken to its client: %s" % (what, kind, str(why)[:60]))
        code, out, err = ended(mica(d, "vm", "exec", "load-1", "--", "cat", d.dir + "/blob", over="https", port=cutter.port))
        same((code, len(out) < len(blob)), (125, True), "the command line exits with 125 after %s: %s" % (kind, err.split(b"\n")[1].decode()))
        there = d.dir + "/copied"
        code, out, err = ended(mica(d, "vm", "cp", "load-1:" + d.dir + "/blob", there, over="https", port=cutter.port))
        same((code, os.path.exists(there)), (1, False), "its copy out exits with 1 and leaves no half of a file")
        cutter.close()
        up = Cutter(d.tcp[:2], 600, rst)  # in the handshake
        code, out, err = ended(mica(d, "vm", "exec", "load-1", "--", "sleep", "1000", over="https", port=up.port), 30)
        same(code, 125, "an exec whose connection is cut at its beginning: 125")
        up.close()
    tap.ok(wait_for(lambda: not children(d.agents[0].pid), 5), "none of the commands is left")


# ---- clients that go ----

def group_alive(pids):
    return [p for p in pids if alive(p)]


TREE = "sleep 1000 & echo $!; sleep 1000 & echo $!; echo $$; "


def tree(frames, n=3):
    """pids that TREE printed."""
    got = b""
    while got.count(b"\n") < n:
        got += payload(next(frames))
    return [int(x) for x in got.split()[:n]]


def stuff(conn):
    """Chunks until nothing more goes in."""
    conn.sock.settimeout(0.5)
    sent = 0
    try:
        while True:
            conn.chunk(b"x" * 65536)
            sent += 65536
    except OSError:
        pass
    return sent


def case_going_ends_commands(d):
    """Each way a client can go, whatever its stream is doing then: the command's whole process group ends."""
    def waiting(api):
        conn = api.conn()
        conn.start("POST", path("load-1", "sh", "-c", TREE + "wait"))
        return conn, tree(conn.response().lines())

    def flooding(api):  # output blocked: the client does not read
        conn = api.conn()
        conn.start("POST", path("load-1", "sh", "-c", TREE + "exec yes"))
        pids = tree(conn.response().lines())
        wait_for(lambda: not select.select([], [], [], 0.3)[0] and cpu_stands(pids[2]), 10)
        return conn, pids

    def uploading(api):  # input flows, the command takes it
        conn = api.conn()
        conn.start("POST", path("load-1", "sh", "-c", TREE + "cat > /dev/null; wait", stdin=True), chunked=True)
        pids = tree(conn.response().lines())
        for _ in range(20):
            conn.chunk(b"x" * 32768)
        return conn, pids

    def stuffed(api):  # input blocked: the command does not take it
        conn = api.conn()
        conn.start("POST", path("load-1", "sh", "-c", TREE + "wait", stdin=True), chunked=True)
        pids = tree(conn.response().lines())
        stuff(conn)
        return conn, pids

    def promised(api):  # the same with a length, not all of it sent
        conn = api.conn()
        conn.start("POST", path("load-1", "sh", "-c", TREE + "wait", stdin=True), {"Content-Length": "100000000"}, b"x" * 1000)
        return conn, tree(conn.response().lines())

    def buffered(api):
        conn = api.conn()
        before = set(children(d.agents[0].pid))
        conn.start("POST", path("load-1", "sleep", "1000", buffered=True))
        wait_for(lambda: set(children(d.agents[0].pid)) - before, 5)
        return conn, list(set(children(d.agents[0].pid)) - before)

    for name, api in both(d):
        for begin in (waiting, flooding, uploading, stuffed, promised, buffered):
            conn, pids = begin(api)
            there = len(pids) > 0 and len(group_alive(pids)) == len(pids)
            if name == "https":  # without a word of TLS, as a client that is killed
                os.close(conn.sock.detach())
            else:
                conn.close()
            gone = wait_for(lambda: not group_alive(pids), 8)
            tap.ok(there and gone, "%s: a client that goes while its command is %s ends it and its children" % (name, begin.__name__))
    # a client that is killed, and the command line's own
    for over in ("unix", "https"):
        p = mica(d, "vm", "exec", "load-1", "--", "sh", "-c", TREE + "wait", over=over)
        pids = [int(p.stdout.readline()) for _ in range(3)]
        p.kill()
        p.wait()
        tap.ok(wait_for(lambda: not group_alive(pids), 8), "%s: so does a command line that is killed" % over)


def cpu_stands(pid):
    def now():
        try:
            with open("/proc/%d/schedstat" % pid) as f:
                return f.read().split()[0]
        except OSError:
            return None
    first = now()
    time.sleep(0.2)
    return now() == first


def half_close(conn):
    """The end of what the client sends, below TLS too."""
    socket.socket(fileno=os.dup(conn.sock.fileno())).shutdown(socket.SHUT_WR)


def case_half_close(d):
    """stdin's end is not the stream's; and a client that closes its sending side after all it had to say loses none of it."""
    frames = d.api.frames("load-1", "sh", ["-c", "cat > /dev/null; echo after"], stdin=b"x" * 100000, stdio="base64")
    same((payload(frames[1]), frames[-1]["exit_code"]), (b"after\n", 0), "output goes on after the end of stdin")
    blob = os.urandom(6 << 20)
    want = hashlib.sha256(blob).hexdigest().encode()
    for chunked in (False, True):  # the command takes its input late: what was sent waits in buffers and in the socket when the half close comes
        conn = d.api.conn()
        conn.start("POST", path("load-1", "sh", "-c", "sleep 1; sha256sum", stdin=True), None if chunked else {"Content-Length": str(len(blob))},
                   chunked=chunked)

        def send():
            if chunked:
                conn.chunk(blob)
                conn.last_chunk()
            else:
                conn.raw(blob)
            half_close(conn)
        t = threading.Thread(target=send)
        t.start()
        frames = list(conn.response().lines())
        t.join()
        same((frames[1].get("stdout") and payload(frames[1]).split()[0], frames[-1]["exit_code"]), (want, 0),
             "unix: 6 MiB of stdin %s, then a half close: all of it arrives" % ("in chunks" if chunked else "with a length"))
        conn.close()
    conn = d.api.conn()
    conn.start("POST", path("load-1", "sh", "-c", "cat; sleep 100", stdin=True), {"Content-Length": "100000"}, b"x" * 5000)
    frames = conn.response().lines()
    pid = next(frames)["pid"]
    half_close(conn)
    tap.ok(wait_for(lambda: not alive(pid), 8), "unix: a half close before the promised length ends the command")
    os.chmod(d.dir, 0o777)
    for name, api in both(d):
        conn = api.conn()
        there = d.dir + "/there"
        os.kill(d.agents[0].pid, signal.SIGSTOP)  # nothing is taken when the half close comes

        def send_all():
            conn.start("POST", query("/vm/load-1/cp", path=there, mode="binary"), {"Content-Length": str(len(blob))}, blob)
            half_close(conn)
        sender = threading.Thread(target=send_all)
        sender.start()
        sender.join(1)
        os.kill(d.agents[0].pid, signal.SIGCONT)
        sender.join(20)
        reply = conn.response()
        with open(there, "rb") as f:
            same((reply.status, f.read() == blob), (200, True), "%s: a copy in whose client half closes is whole and answered" % name)
        os.unlink(there)
        conn.close()
    conn = Api(d.tcp).conn()
    conn.start("POST", query("/vm/load-1/cp", path=d.dir + "/never", mode="binary"), {"Content-Length": "1000000"}, b"x" * 5000)
    os.close(conn.sock.detach())
    tap.ok(wait_for(lambda: not children(d.agents[0].pid), 8) and not os.path.exists(d.dir + "/never"), "a copy that is cut short makes no file")


# ---- memory ----

def peak_grown(d, work):
    """KiB by which front, core and the first agent were larger than before while work() ran."""
    procs = (d.front, d.core, d.agents[0])
    time.sleep(2.2)
    before = [memory_kib(p.pid)[0] for p in procs]
    peak, over = list(before), threading.Event()

    def watch():
        while not over.wait(0.02):
            for i, p in enumerate(procs):
                peak[i] = max(peak[i], memory_kib(p.pid)[0])
    t = threading.Thread(target=watch)
    t.start()
    try:
        work()
    finally:
        over.set()
        t.join()
    return [p - b for p, b in zip(peak, before)]


def drain(conn, first_rest_s):
    """Reads an answer to its end without looking at it: bytes, and the last of them. Rests between the first reads."""
    total, tail, reads = len(conn.rest), conn.rest, 0
    buffer = bytearray(1 << 20)
    while b'"type":"exit"' not in tail or not tail.endswith(b"0\r\n\r\n"):
        n = conn.sock.recv_into(buffer)
        if not n:
            raise Broken("ended early")
        total += n
        tail = (tail + bytes(buffer[max(0, n - 600):n]))[-600:]
        reads += 1
        if reads <= 10:
            time.sleep(first_rest_s)
    return total, tail


def case_flat_memory(d):
    """Much output to a client that is slow, and much input to a command that is: nobody between them grows."""
    for name, api, size in (("unix", Api(d.unix), 1 << 30), ("https", Api(d.tcp), 256 << 20)):
        def out():
            conn = api.conn(60)
            conn.start("POST", path("load-1", "head", "-c", str(size), "/dev/zero"))
            total, tail = drain(conn, 0.1)
            same((total > size * 4 // 3, b'"exit_code":0' in tail), (True, True), "%s: %d MiB of output to a slow reader arrive" % (name, size >> 20))
            conn.close()
        grown = peak_grown(d, out)
        tap.ok(grown[0] < 1024 and grown[1] < 128 and grown[2] < 256, "and cost front, core and agent %s KiB" % grown)

        def into():
            conn = api.conn(60)
            conn.start("POST", path("load-1", "sh", "-c", "sleep 1; wc -c", stdin=True), {"Content-Length": str(size // 4)})
            block = bytes(1 << 20)
            for _ in range(size // 4 >> 20):
                conn.raw(block)
            got = b"".join(payload(f) for f in conn.response().lines())
            same(int(got), size // 4, "%s: %d MiB of input to a command that begins late" % (name, size >> 22))
            conn.close()
        grown = peak_grown(d, into)
        tap.ok(grown[0] < 1024 and grown[1] < 128 and grown[2] < 512, "cost %s KiB" % grown)


# ---- numbers and gaps ----

def launch(d, script, **params):
    status, _, body = d.api.call("POST", path("load-1", "sh", "-c", script, background=True, **params))
    if status != 201:
        raise Broken("background: %d %r" % (status, body))
    return json.loads(body)["exec_id"]


def told(frames):
    """(gap-free but for what gap frames say, bytes of output, bytes dropped)"""
    want, out, dropped, good = 1, 0, 0, True
    for f in frames:
        if f["type"] == "gap":
            good &= f["id"] - want == f["dropped_frames"] and f["dropped_frames"] > 0 and bool(f["message"])
            dropped += f["dropped_bytes"]
            want = f["id"]
            continue
        good &= f["id"] == want
        want = f["id"] + 1
        out += len(payload(f, "stdout")) + len(payload(f, "stderr"))
    return good, out, dropped


def case_numbers_and_gaps(d):
    ident = launch(d, "for i in $(seq 200); do echo $i; echo $i >&2; done")
    d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=20" % ident)
    with d.api.conn() as conn:
        frames = list(conn.call("GET", "/vm/load-1/exec/%s/logs" % ident).lines())
    good, out, dropped = told(frames)
    same((good, out, dropped, frames[0]["type"], frames[-1]["type"]), (True, 2 * 692, 0, "started", "exit"), "numbers go up by one from the first to the last")
    ident = launch(d, "head -c 3000000 /dev/zero", ring_bytes=65536)
    info = d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=20" % ident)
    with d.api.conn() as conn:
        frames = list(conn.call("GET", "/vm/load-1/exec/%s/logs" % ident).lines())
    info = d.api.get("/vm/load-1/exec/%s" % ident)
    good, out, dropped = told(frames)
    same((good, out + dropped, [f["type"] for f in frames[:2]], dropped), (True, 3000000, ["started", "gap"], info["bytes_dropped"]),
         "a ring that overflowed says how much is missing, to the byte (%d)" % dropped)
    ident = launch(d, "head -c 60000000 /dev/zero", ring_bytes=1 << 20)
    with d.api.conn() as conn:
        reply = conn.call("GET", "/vm/load-1/exec/%s/logs?follow=true" % ident)
        d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=30" % ident)  # it never waits for a reader
        frames = list(reply.lines())
    good, out, dropped = told(frames)
    same((good, out + dropped, frames[-1]["type"], dropped > 0), (True, 60000000, "exit", True),
         "a follower that fell behind learns what it missed (%d bytes)" % dropped)
    # how the log is written
    for start, ask, want in (("base64", None, True), (None, None, False), ("text", "base64", True), ("base64", "text", False)):
        ident = launch(d, "echo out; echo err >&2", stdio=start)
        d.api.get("/vm/load-1/exec/%s/wait-exit?timeout=5" % ident)
        with d.api.conn() as conn:
            frames = list(conn.call("GET", query("/vm/load-1/exec/%s/logs" % ident, stdio=ask)).lines())
        same((all(("encoding" in f) == want for f in frames if f["type"] in ("stdout", "stderr")), b"".join(payload(f) for f in frames)), (True, b"out\n"),
             "started with stdio=%s, read with %s: %s" % (start, ask, "base64" if want else "text"))
    for which, want in ((dict(stdout=True), (b"out\n", b"")), (dict(stderr=True), (b"", b"err\n")), (dict(stdout="false"), (b"", b"err\n")),
                        (dict(stdout=True, stderr=True), (b"out\n", b"err\n"))):
        with d.api.conn() as conn:
            frames = list(conn.call("GET", query("/vm/load-1/exec/%s/logs" % ident, stdio="base64", **which)).lines())
        live = d.api.run("load-1", "sh", ["-c", "echo out; echo err >&2"], **which)
        same((tuple(b"".join(payload(f, s) for f in frames) for s in ("stdout", "stderr")), live), (want, (0, *want)),
             "%s: what is asked for, in logs and live" % which)


def case_lost_log(d):
    """A log that is followed when the agent goes has no end."""
    ident = launch(d, "echo one; exec sleep 1000")
    conn = d.api.conn()
    frames = conn.call("GET", "/vm/load-1/exec/%s/logs?follow=true" % ident).lines()
    same([next(frames)["type"] for _ in range(2)], ["started", "stdout"], "a log is followed")
    pids = children(d.agents[0].pid)
    d.agents[0].kill()
    d.agents[0].wait()
    try:
        rest = list(frames)
        tap.ok(False, "it ends as if the command had: %s" % rest)
    except (Broken, OSError) as why:
        tap.ok(True, "when the agent goes it breaks off: %s" % why)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    os.unlink(d.agent_paths[0])
    d.start_agent(0)


def case_resumed_tls(d):
    """Clients that come back skip the key exchange; the number of sessions kept is bounded."""
    def connect(session=None):
        s = socket.create_connection(d.tcp[:2], 20)
        return d.context.wrap_socket(s, server_hostname="localhost", session=session)
    first = connect()
    session = first.session
    same((first.session_reused, bool(session.id)), (False, True), "a first connection has a session")
    first.close()
    again = connect(session)
    again.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    same((again.session_reused, again.recv(100)[:15]), (True, b"HTTP/1.1 200 OK"), "the next one resumes it")
    again.close()
    for _ in range(520):
        connect().close()
    late = connect(session)
    same(late.session_reused, False, "520 sessions later it is forgotten, and the handshake is whole")
    late.close()


def main():
    words = sys.argv[2:]
    warnings.simplefilter("ignore")
    raise_limits()
    d = Daemon(sys.argv[1])
    d.mica = os.path.join(os.path.abspath(sys.argv[1]), "mica")
    d.fingerprint = next(line.split()[1] for line in d.notes if line.startswith("TLS "))
    cases = [f for name, f in globals().items() if name.startswith("case_")]
    cases.sort(key=lambda f: f is case_lost_vm)  # what it loses does not come back
    for case in cases:
        if words and not any(word in case.__name__ for word in words):
            continue
        begun = time.monotonic()
        print("# " + case.__name__, flush=True)
        try:
            case(d)
        except Exception:
            for line in traceback.format_exc(limit=8).splitlines():
                print("# " + line)
            tap.ok(False, case.__name__)
        print("# %.1f s" % (time.monotonic() - begun), flush=True)
        if d.front.poll() is not None or d.core.poll() is not None:
            tap.ok(False, "front or core ended: %s %s" % (d.front.returncode, d.core.returncode))
            break
    same(d.close(), 0, "core and front end as they should")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
