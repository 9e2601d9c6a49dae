#!/usr/bin/env python3
"""load.py BIN-FOLDER [WORD...]: many clients on one daemon: real front, core and agents, made-up VM processes (loadrig.py). TAP on stdout; WORDs choose
cases by name. Progress is shown by what arrives while something else stands still, never by a clock."""
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from agent_wire import Agent, EXEC, EXIT, T_ARG, T_CMD, T_CODE  # noqa: E402
from client import Api, Broken, Conn, WebSocket, payload, query, wait_for  # noqa: E402
from frames import Tap  # noqa: E402
from loadrig import Daemon, children, memory_kib, raise_limits  # noqa: E402

tap = Tap()
AGENT_STREAMS = 512   # agent/agent.h SESSIONS_MAX
IDLE_KIB = 16         # what an idle connection may cost, TLS included: its record buffers go back to the kernel while nothing is in them
SETTLE_S = 2.2        # front's sweep gives buffers back once a second, to connections that were quiet for one


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


def exec_path(vm, cmd, *args, **params):
    return query("/vm/%s/exec" % vm, cmd=cmd, args=list(args), stdio="base64", **params)


class Cat:
    """A `cat` in a VM, its input still open."""

    def __init__(self, api, vm):
        self.conn = api.conn(60)
        self.conn.start("POST", exec_path(vm, "cat", stdin=True), chunked=True)
        self.vm, self.reply, self.frames, self.pid = vm, None, None, None

    def started(self):
        self.reply = self.conn.response()
        if self.reply.status != 200:
            return False
        self.frames = self.reply.lines()
        self.pid = next(self.frames)["pid"]
        return True

    def say(self, data):
        self.conn.chunk(data)

    def hears(self, data):
        got = b""
        while len(got) < len(data):
            got += payload(next(self.frames))
        return got == data

    def has_news(self):
        return bool(self.conn.rest) or bool(select.select([self.conn.sock], [], [], 0)[0])

    def end(self):
        self.conn.last_chunk()
        return next(self.frames)["exit_code"]

    def close(self):
        self.conn.close()


def start_all(api, plan):
    """plan: VM names, one a stream. Every request is sent before an answer is read."""
    cats = [Cat(api, vm) for vm in plan]
    return cats, sum(cat.started() for cat in cats)


def echo_all(cats, word):
    for i, cat in enumerate(cats):
        cat.say(b"%s %d\n" % (word, i))
    return sum(cat.hears(b"%s %d\n" % (word, i)) for i, cat in enumerate(cats))


def end_all(cats):
    zero = sum(cat.end() == 0 for cat in cats)
    for cat in cats:
        cat.close()
    return zero


def case_thousand_streams(d):
    """1 000 commands at once, 512 of them in one VM, each full duplex."""
    plan = [d.vms[0]] * AGENT_STREAMS + [d.vms[1 + i % 3] for i in range(1000 - AGENT_STREAMS)]
    cats, started = start_all(d.api, plan)
    same(started, 1000, "1000 commands are started, %d of them in one VM" % AGENT_STREAMS)
    same(sum(len(children(a.pid)) for a in d.agents), 1000, "and run at the same time")
    same(echo_all(cats, b"there and back"), 1000, "each hears what it was told")

    # one VM stands still: everything else goes on; shown by who has an answer and who has none
    os.kill(d.agents[0].pid, signal.SIGSTOP)
    try:
        still, others = cats[:AGENT_STREAMS], cats[AGENT_STREAMS:]
        for cat in still:
            cat.say(b"anybody there")
        late = d.api.conn()
        late.start("POST", exec_path(d.vms[0], "echo", "late"))
        same(echo_all(others, b"while one VM stands still"), len(others), "with one VM standing still all streams of the others go on")
        same([d.api.run(vm, "echo", ["new"])[1] for vm in d.vms[1:]], [b"new\n"] * 3, "new commands start in them")
        same(sum(cat.has_news() for cat in still), 0, "while those of the VM that stands still wait")
    finally:
        os.kill(d.agents[0].pid, signal.SIGCONT)
    same(sum(cat.hears(b"anybody there") for cat in still), AGENT_STREAMS, "and are served when it goes on")
    got = [json.loads(line) for line in late.response().read().split(b"\n") if line] # 513th: refused or started, as the agent found it
    late.close()
    tap.ok(got[-1].get("error") or got[-1].get("exit_code") == 0, "the request that came meanwhile is answered too: %s" % got[-1])
    same(end_all(cats), 1000, "all end with their input, with 0")
    tap.ok(wait_for(lambda: not any(children(a.pid) for a in d.agents), 10), "nothing is left in the VMs")


def case_streams_used_up(d):
    """The 513th stream into a VM is refused with 503, a sentence and Retry-After; nothing else suffers; one that ends makes room."""
    cats, started = start_all(d.api, [d.vms[0]] * AGENT_STREAMS)
    same(started, AGENT_STREAMS, "%d commands in one VM" % AGENT_STREAMS)
    status, headers, body = d.api.call("POST", exec_path(d.vms[0], "true"))
    same((status, headers.get("retry-after"), "512" in json.loads(body)["error"]), (503, "1", True),
         "one more: 503, Retry-After, and what is used up: %s" % body.decode())
    same(d.api.call("POST", query("/vm/%s/cp" % d.vms[0], path="/tmp/x", mode="binary"), b"x")[0], 503, "a copy as well")
    same(d.api.run(d.vms[1], "echo", ["else"])[1], b"else\n", "another VM serves")
    same(echo_all(cats, b"still"), AGENT_STREAMS, "those that are there go on")
    same(end_all(cats[:1]), 1, "when one ends")
    tap.ok(wait_for(lambda: d.api.call("POST", exec_path(d.vms[0], "true", buffered=True))[0] == 200, 5), "there is room again")
    same(end_all(cats[1:]), AGENT_STREAMS - 1, "and all end well")


def case_held_connect(d):
    """A VM's process that does not answer core holds up nobody else."""
    d.order("hold", d.vms[0])
    waits = []
    try:
        for _ in range(32):
            conn = d.api.conn()
            conn.start("POST", exec_path(d.vms[0], "echo", "at last"))
            waits.append(conn)
        same([d.api.run(vm, "echo", ["on"])[1] for vm in d.vms[1:] * 8], [b"on\n"] * 24, "32 requests wait for a VM that does not answer; others are served")
        same(select.select([c.sock for c in waits], [], [], 0)[0], [], "and none of the 32 has an answer")
    finally:
        d.order("free", d.vms[0])
    outs = [payload(list(c.response().lines())[1]) for c in waits]
    same(outs, [b"at last\n"] * 32, "they have when it does")
    for c in waits:
        c.close()


def case_slow_readers(d):
    """Clients that do not read stop their own command: bytes of memory, not of output; the same VM and the same front serve others."""
    time.sleep(SETTLE_S)
    before = [memory_kib(p.pid)[0] for p in (d.front, d.core, d.agents[0])]
    slow = []
    for _ in range(64):
        conn = d.api.conn()
        conn.start("POST", exec_path(d.vms[0], "yes"))
        slow.append(conn)
    for conn in slow:
        next(conn.response().lines())
    # all of them are stuck when nothing is written any more: their CPU time stands still
    pids = children(d.agents[0].pid)

    def ticks():
        return sum(int(open("/proc/%d/schedstat" % p).read().split()[0]) for p in pids)
    last = [0]

    def stands():
        now, last[0] = ticks(), last[0] if last[0] else -1
        stood = now == last[0]
        last[0] = now
        return stood
    tap.ok(wait_for(stands, 20, 0.2), "64 commands whose clients do not read stand still")
    same([d.api.run(vm, "echo", ["fast"])[1] for vm in d.vms], [b"fast\n"] * 4, "others are served, in the same VM too")
    grown = [memory_kib(p.pid)[0] - b for p, b in zip((d.front, d.core, d.agents[0]), before)]
    tap.ok(grown[0] < 64 * 256 and grown[1] < 256 and grown[2] < 64 * 64, "they cost front, core and agent %s KiB" % grown)
    for conn in slow:
        conn.close()
    tap.ok(wait_for(lambda: not children(d.agents[0].pid), 10), "their going ends the commands, blocked as they are")


def case_creates(d):
    """64 creations at once, beside a stream that goes on."""
    cat = start_all(d.api, d.vms[:1])[0][0]
    conns = []
    for i in range(64):
        conn = d.api.conn()
        conn.start("POST", "/hostgroup/made/nodes?wait=agent&timeout=60s", {"Content-Type": "application/json"}, b'{"tags":["n=%d"]}' % i)
        conns.append(conn)
    same(echo_all([cat], b"meanwhile"), 1, "a stream goes on while 64 VMs are made")
    made = []
    for conn in conns:
        reply = conn.response()
        made.append((reply.status, reply.json()))
        conn.close()
    same([status for status, _ in made], [201] * 64, "64 creations at once")
    names = sorted(node.get("hostname", "") for _, node in made)
    same((len(set(names)), sorted(n["hostname"] for n in d.api.get("/hostgroup/made/nodes"))), (64, names), "64 names, and the list has them")
    same(sorted(node["tags"][0] for _, node in made), sorted("n=%d" % i for i in range(64)), "each got what was asked for it")
    same(d.api.run(names[-1], "echo", ["up"])[1], b"up\n", "they are up")
    same(end_all([cat]), 1, "the stream ends well")
    gone = [d.api.conn() for _ in names]
    for conn, name in zip(gone, names):
        conn.start("DELETE", "/hostgroup/made/nodes/" + name)
    same([conn.response().status for conn in gone], [200] * 64, "and 64 deletions at once")
    for conn in gone:
        conn.close()


# ---- what idle clients cost ----

def grown_kib(d, open_one, n):
    """KiB per connection that n of them cost front, core and the first agent; and the connections."""
    procs = (d.front, d.core, d.agents[0])
    warm = [open_one() for _ in range(n)]  # what the allocator keeps from one such crowd is no connection's
    for c in warm:
        c.close()
    time.sleep(SETTLE_S)
    before = [memory_kib(p.pid) for p in procs]
    conns = [open_one() for _ in range(n)]
    time.sleep(SETTLE_S)
    after = [memory_kib(p.pid) for p in procs]
    rss = [(a[0] - b[0]) / n for a, b in zip(after, before)]
    pss = [(a[1] - b[1]) / n for a, b in zip(after, before)]
    return rss, "front %.1f, core %.1f, agent %.1f KiB (proportional %.1f, %.1f, %.1f)" % (*rss, *pss), conns


def close_all(conns):
    for c in conns:
        c.close()


def kept_alive(api):
    conn = api.conn()
    conn.call("GET", "/info").read()
    return conn


class Shell:
    def __init__(self, api, vm):
        self.conn = api.conn()
        self.ws = WebSocket(self.conn, query("/vm/%s/shell" % vm, shell="/bin/sh"))
        if self.ws.reply.status != 101:
            raise Broken("shell: %d" % self.ws.reply.status)
        self.frames = b""
        self.type(b"echo he''re\r")
        self.until(b"here\r\n")

    def type(self, line):
        self.ws.send(b"\x01" + struct.pack(">I", len(line)) + line)

    def until(self, word):
        seen = b""
        while word not in seen:
            op, data = self.ws.recv()
            if op != 2:
                raise Broken("shell ended: %d %r" % (op, data))
            seen += data[5:]
        return seen

    def close(self):
        self.conn.close()


def case_idle_connections(d):
    rss, text, conns = grown_kib(d, lambda: kept_alive(d.api), 400)
    tap.ok(rss[0] <= IDLE_KIB and rss[1] <= 1, "an idle connection costs %s" % text)
    close_all(conns)
    tls = Api(d.tcp)
    rss, text, conns = grown_kib(d, lambda: kept_alive(tls), 200)
    tap.ok(rss[0] <= IDLE_KIB and rss[1] <= 1, "an idle connection of HTTPS costs %s" % text)
    same(sum(c.call("GET", "/info").status == 200 for c in conns), 200, "and serves the next request")
    close_all(conns)



def case_idle_shells(d):
    """200 shells with nobody typing: front, core and agent keep little for each."""
    rss, text, shells = grown_kib(d, lambda: Shell(d.api, d.vms[0]), 200)
    tap.ok(rss[0] <= IDLE_KIB and rss[1] <= 1 and rss[2] <= IDLE_KIB, "an idle shell costs %s" % text)
    for i, shell in enumerate(shells):
        shell.type(b"echo nu''mber %d\r" % i)
    same(sum(b"number %d\r\n" % i in shell.until(b"number %d\r\n" % i) for i, shell in enumerate(shells)), 200, "all 200 answer when they are typed at")
    close_all(shells)
    tap.ok(wait_for(lambda: not children(d.agents[0].pid), 10), "and end with their clients")


def case_https(d):
    """200 streams at once over TLS."""
    api = Api(d.tcp)
    cats, started = start_all(api, [d.vms[i % 4] for i in range(200)])
    same(started, 200, "200 commands over HTTPS")
    os.kill(d.agents[1].pid, signal.SIGSTOP)
    try:
        others = [cat for i, cat in enumerate(cats) if i % 4 != 1]
        same(echo_all(others, b"tls"), 150, "150 go on while the VM of the others stands still")
    finally:
        os.kill(d.agents[1].pid, signal.SIGCONT)
    big = b"x" * 100000
    for cat in cats[:20]:
        threading.Thread(target=cat.say, args=(big,), daemon=True).start()
    same(sum(cat.hears(big) for cat in cats[:20]), 20, "100 kB there and back on 20 of them")
    same(end_all(cats), 200, "all end with 0")


def case_nothing_left(d):
    """After all that: no descriptor and no stream is kept."""
    def open_fds(p):
        return len(os.listdir("/proc/%d/fd" % p.pid))
    tap.ok(wait_for(lambda: open_fds(d.front) < 20, 10), "front holds %d descriptors" % open_fds(d.front))
    tap.ok(wait_for(lambda: open_fds(d.core) < 60, 10), "core %d" % open_fds(d.core))
    tap.ok(wait_for(lambda: all(open_fds(a) < 20 for a in d.agents), 10), "agents %s" % [open_fds(a) for a in d.agents])


class Late:
    """An agent that is kept from its work for longer than a stream may take to ask: begun before the other cases, looked at after them."""

    def __init__(self, program):
        self.agent = Agent(program)
        self.streams = [self.agent.open(timeout=30) for _ in range(200)]
        wait_for(lambda: len(os.listdir("/proc/%d/fd" % self.agent.p.pid)) > 200, 10)
        os.kill(self.agent.p.pid, signal.SIGSTOP)
        self.began = time.monotonic()
        for i, s in enumerate(self.streams):
            s.send(EXEC, [(T_CMD, "sh"), (T_ARG, "-c"), (T_ARG, "exit %d" % (i % 100))] + [(T_ARG, "x" * 8000)] * (i % 2))

    def end(self):
        time.sleep(max(0, 10.5 - (time.monotonic() - self.began)))
        os.kill(self.agent.p.pid, signal.SIGCONT)
        good = 0
        for i, s in enumerate(self.streams):
            m = s.recv()
            while m is not None and m.kind != EXIT:
                m = s.recv()
            good += m is not None and m.num(T_CODE) == i % 100
            s.close()
        same(good, 200, "requests that waited for a busy agent beyond a stream's time limit are served")
        self.agent.stop()


def main():
    words = sys.argv[2:]
    if raise_limits() < 8192:
        tap.skip("load", "at most %d descriptors for a process here, 8192 are needed" % raise_limits())
        return tap.done()
    d = Daemon(sys.argv[1])
    late = Late(d.agent_program) if not words or "late" in words else None
    for case in [f for name, f in globals().items() if name.startswith("case_")]:
        if words and not any(word in case.__name__ for word in words):
            continue
        begun = time.monotonic()
        print("# " + case.__name__, flush=True)
        try:
            case(d)
        except Exception:
            for line in traceback.format_exc(limit=6).splitlines():
                print("# " + line)
            tap.ok(False, case.__name__)
        print("# %.1f s" % (time.monotonic() - begun), flush=True)
        if d.front.poll() is not None or d.core.poll() is not None:
            tap.ok(False, "front or core ended: %s %s" % (d.front.returncode, d.core.returncode))
            break
    if late:
        late.end()
    same(d.close(), 0, "core and front end as they should")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
