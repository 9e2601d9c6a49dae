#!/usr/bin/env python3
"""The guest's agent on unix sockets: background commands, watches, chunked uploads. No guest needed. usage: agent_bg.py AGENT"""
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_wire import *  # noqa: E402,F403

ROOT = os.getuid() == 0
count = failed = 0


def ok(cond, what, more=""):
    global count, failed
    count += 1
    failed += not cond
    print(("ok" if cond else "not ok"), count, "-", what)
    if not cond and more != "":
        print("#", str(more)[:600])
    sys.stdout.flush()


def refused(m, status, word=""):
    return m is not None and m.kind == ERR and m.num(T_STATUS) == status and word in m.text(T_TEXT)


def wait_for(cond, seconds=5):
    end = time.time() + seconds
    while time.time() < end:
        if cond():
            return True
        time.sleep(0.02)
    return cond()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- background commands ----

def start(a, cmd, args=(), more=()):
    return a.ask(BG_START, [(T_CMD, cmd)] + [(T_ARG, x) for x in args] + list(more))


def sh(a, script, more=()):
    m = start(a, "sh", ["-c", script], more)
    assert m.kind == BG_IS, m
    return m.text(T_EXEC_ID)


def info(a, ident):
    return a.ask(BG_INFO, [(T_EXEC_ID, ident)])


def wait(a, ident, ms=20000):
    return a.ask(BG_WAIT, [(T_EXEC_ID, ident), (T_TIMEOUT_MS, ms)])


def reap(a, ident):
    return a.ask(BG_REAP, [(T_EXEC_ID, ident)])


def end(a, ident):
    a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_SIGNAL_NAME, "KILL")])
    wait(a, ident)
    return reap(a, ident)


def logs(a, ident, from_id=0, follow=False):
    s = a.open()
    s.send(BG_LOGS, [(T_EXEC_ID, ident), (T_FROM_ID, from_id), (T_FOLLOW, int(follow))])
    frames = []
    while (m := s.recv()) is not None:
        frames.append(m)
        if m.kind in (OK, ERR):
            break
    s.close()
    return frames


def data(frames, kind=None):
    return b"".join(m.get(T_DATA) for m in frames if m.kind in ((kind,) if kind else (STDOUT, STDERR)))


def test_bg_life(a):
    before = time.time_ns()
    m = start(a, "sh", ["-c", "echo out; echo err >&2; sleep 0.4; echo late; exit 5", "it's"], [(T_CWD, "/tmp")])
    ident = m.text(T_EXEC_ID)
    ok(m.kind == BG_IS and len(ident) == 11 and ident.startswith("ex_") and m.num(T_PID) > 1 and m.num(T_RING_BYTES) == 1 << 20
       and m.num(T_RUNNING) == 1 and m.text(T_CWD) == "/tmp" and m.num(T_TIME_NS) >= before, "start answers id, pid, ring and time", m)
    ok(m.text(T_CMD) == "sh" and [v for t, v in m.fields if t == T_ARG] == [b"-c", b"echo out; echo err >&2; sleep 0.4; echo late; exit 5", b"it's"]
       and m.num(T_UID) == (1000 if ROOT else os.getuid()), "command, arguments and user stand as asked", m)
    ok(wait_for(lambda: info(a, ident).num(T_BYTES_WRITTEN) == 8), "info counts what it wrote")
    f = logs(a, ident)
    ok([m.kind for m in f[:1]] == [STARTED] and f[0].num(T_FRAME_ID) == 1 and f[-1].kind == OK and EXIT not in [m.kind for m in f]
       and data(f, STDOUT) == b"out\n" and data(f, STDERR) == b"err\n", "a log of a running command: started, output, done", f)
    t = time.time()
    f = logs(a, ident, follow=True)
    ok(data(f, STDOUT) == b"out\nlate\n" and f[-2].kind == EXIT and f[-2].num(T_CODE) == 5 and f[-1].kind == OK and time.time() - t < 3,
       "a follower sees the rest and the exit last", f)
    ids = [m.num(T_FRAME_ID) for m in f[:-1]]
    ok(ids == list(range(1, len(ids) + 1)) and all(m.num(T_TIME_NS) >= before for m in f[:-1]), "frame ids are 1, 2, 3 …, each with its time", ids)
    m = info(a, ident)
    ok(m.num(T_RUNNING) == 0 and m.num(T_CODE) == 5 and m.get(T_SIGNAL) is None and m.num(T_END_NS) > before
       and m.num(T_NEXT_ID) == ids[-1] + 1 and m.num(T_BYTES_DROPPED) == 0, "info after the end", m)
    f = logs(a, ident, from_id=3)
    ok([m.num(T_FRAME_ID) for m in f[:-1]] == ids[2:], "replay from an id", f)
    f = logs(a, ident, from_id=ids[-1] + 1, follow=True)
    ok([m.kind for m in f] == [OK], "one who has seen the exit gets nothing again", f)
    m = wait(a, ident)
    ok(m.num(T_TIMED_OUT) == 0 and m.num(T_CODE) == 5, "wait after the end answers at once", m)
    m = a.ask(BG_KILL, [(T_EXEC_ID, ident)])
    ok(m.kind == BG_IS and m.num(T_RUNNING) == 0 and m.get(T_SIGNAL_NAME) is None, "kill after the end does nothing and says so", m)
    ok(reap(a, ident).kind == OK, "reap")
    for kind, name in ((BG_INFO, "info"), (BG_LOGS, "logs"), (BG_KILL, "kill"), (BG_WAIT, "wait"), (BG_REAP, "reap")):
        m = a.ask(kind, [(T_EXEC_ID, ident)])
        ok(refused(m, 410, "reaped"), f"{name} after the reaping: 410", m)
    for bad in ("ex_00000001", "ex_", "x", "ex_zzzzzzzz", "ex_" + "1" * 40, "ex_1\0"):
        m = info(a, bad)
        ok(refused(m, 404), f"an id never given ({bad!r}): 404", m)
    ok(refused(a.ask(BG_INFO), 404), "no id: 404")


def test_bg_refusals(a):
    m = start(a, "no-such-command")
    ok(refused(m, 404, "not found") and m.text(T_CODE_WORD) == "127", "a command that is not there: 127", m)
    m = start(a, "/etc/passwd")
    ok(m.kind == ERR and m.text(T_CODE_WORD) == "126", "one that is not executable: 126", m)
    ok(refused(start(a, ""), 400), "an empty command")
    ok(refused(start(a, "true", more=[(T_CWD, "/no/where")]), 400, "working directory"), "a folder that is not there")
    m = start(a, "true", ["x" * 65000])
    ok(refused(m, 400, "longer"), "arguments that would not fit an answer", m)
    ok([m.kind for m in list_all(a)] == [OK], "nothing of these is listed")


def list_all(a):
    s = a.open()
    s.send(BG_LIST)
    out = []
    while (m := s.recv()) is not None:
        out.append(m)
        if m.kind in (OK, ERR):
            break
    s.close()
    return out


def test_bg_list(a):
    ids = [start(a, "sleep", ["60"]).text(T_EXEC_ID) for _ in range(3)]
    more = [start(a, "sh", ["-c", "sleep 60 #" + "z" * 50000]).text(T_EXEC_ID) for _ in range(20)]
    f = list_all(a)
    ok([m.text(T_EXEC_ID) for m in f[:-1]] == ids + more and f[-1].kind == OK, "the list is complete, oldest first, 1 MiB of it", len(f))
    for i in ids + more:
        end(a, i)
    ok([m.kind for m in list_all(a)] == [OK], "and empty once all are reaped")


def test_bg_survives(a):
    s = a.open()
    s.send(BG_START, [(T_CMD, "sleep"), (T_ARG, "60")])
    m = s.recv()
    s.close()
    s = a.open()
    s.send(BG_LOGS, [(T_EXEC_ID, m.text(T_EXEC_ID)), (T_FOLLOW, 1)])
    s.recv()
    s.close()
    time.sleep(0.3)
    ok(alive(m.num(T_PID)) and os.getsid(m.num(T_PID)) == m.num(T_PID), "it survives its starter and its followers, in a session of its own")
    ok(refused(reap(a, m.text(T_EXEC_ID)), 409, "still runs"), "reap of a running command: 409")
    end(a, m.text(T_EXEC_ID))
    t = time.time()
    ident = sh(a, "sleep 30 & echo $!; exit 3")
    m = wait(a, ident)
    ok(m.num(T_CODE) == 3 and time.time() - t < 5 and data(logs(a, ident)).strip().isdigit(), "what it leaves behind does not hold up its end", m)
    os.kill(int(data(logs(a, ident))), signal.SIGKILL)
    reap(a, ident)


def test_bg_wait(a):
    ident = sh(a, "sleep 0.5; exit 2")
    t = time.time()
    m = wait(a, ident, 100)
    ok(m.num(T_TIMED_OUT) == 1 and m.num(T_RUNNING) == 1 and m.get(T_CODE) is None and time.time() - t < 0.45, "wait gives up after its time", m)
    m = wait(a, ident, 0)
    ok(m.num(T_TIMED_OUT) == 1, "a wait of 0 asks")
    m = wait(a, ident)
    ok(m.num(T_TIMED_OUT) == 0 and m.num(T_CODE) == 2, "wait sees the end", m)
    reap(a, ident)
    ident = sh(a, "sleep 30")
    s = a.open()
    s.send(BG_WAIT, [(T_EXEC_ID, ident)])
    time.sleep(0.05)
    m = a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_SIGNAL_NAME, "SIGINT")])
    ok(m.text(T_SIGNAL_NAME) == "INT", "a signal by name", m)
    m = s.recv()
    ok(m.num(T_SIGNAL) == 2 and m.num(T_CODE) == 130, "one who waits sees a signal's end", m)
    s.close()
    reap(a, ident)


def test_bg_kill(a):
    ident = sh(a, "sleep 60")
    m = a.ask(BG_KILL, [(T_EXEC_ID, ident)])
    ok(m.text(T_SIGNAL_NAME) == "TERM" and m.text(T_EXEC_ID) == ident, "kill sends TERM", m)
    m = wait(a, ident)
    ok(m.num(T_CODE) == 143 and m.num(T_SIGNAL) == 15, "and the end says so", m)
    reap(a, ident)
    ident = sh(a, "trap '' TERM; echo $$; while :; do sleep 0.05; done")
    wait_for(lambda: info(a, ident).num(T_BYTES_WRITTEN))
    t = time.time()
    a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_GRACE_MS, 300)])
    m = wait(a, ident)
    ok(m.num(T_SIGNAL) == 9 and 0.25 < time.time() - t < 3, "one that ignores TERM is killed after the grace", m)
    reap(a, ident)
    ident = sh(a, "(trap '' TERM; echo up; exec sleep 60) & echo $!; wait")
    wait_for(lambda: len(data(logs(a, ident)).split()) == 2)
    child = next(int(x) for x in data(logs(a, ident)).split() if x.isdigit())
    a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_GRACE_MS, 600)])
    m = wait(a, ident)
    ok(m.num(T_SIGNAL) == 15 and alive(child), "the command ends by TERM, one of its group does not", m)
    ok(wait_for(lambda: not alive(child)), "the grace's KILL reaches it all the same")
    reap(a, ident)
    ident = sh(a, "trap 'echo usr1; exit 0' USR1; echo up; while :; do sleep 0.05; done")
    wait_for(lambda: info(a, ident).num(T_BYTES_WRITTEN))
    for word in ("STOP", "9", "", "SIGSIG"):
        ok(refused(a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_SIGNAL_NAME, word)]), 400, "TERM KILL"), f"signal {word!r} is refused")
    a.ask(BG_KILL, [(T_EXEC_ID, ident), (T_SIGNAL_NAME, "usr1")])
    wait(a, ident)
    ok(data(logs(a, ident), STDOUT) == b"up\nusr1\n", "USR1 arrives", logs(a, ident))
    reap(a, ident)


def test_bg_ring(a):
    ident = sh(a, "yes 0123456789abcde | head -c 4000000; echo end", [(T_RING_BYTES, 65536)])
    m = wait(a, ident)
    w, d = m.num(T_BYTES_WRITTEN), m.num(T_BYTES_DROPPED)
    ok(w == 4000004 and w - 65536 < d < w, "a ring keeps the newest output, and counts", m)
    f = logs(a, ident)
    ok([x.kind for x in f[:2]] == [STARTED, GAP] and f[1].num(T_FRAME_ID) == f[2].num(T_FRAME_ID) and f[1].num(T_DROPPED_BYTES) == d
       and f[1].num(T_DROPPED_FRAMES) == f[2].num(T_FRAME_ID) - 2 and f[1].text(T_TEXT), "a gap stands for what is gone", f[:3])
    ok(len(data(f)) + d == w and data(f).endswith(b"\nend\n") and f[-2].kind == EXIT, "gap and output together are everything")
    n = f[2].num(T_FRAME_ID)
    f = logs(a, ident, from_id=n - 3)
    ok(f[0].kind == GAP and f[0].num(T_DROPPED_FRAMES) == 3 and f[0].num(T_DROPPED_BYTES) <= d and "at most" in f[0].text(T_TEXT),
       "from amid the gap: its frames, and a bound that says so", f[:2])
    f = logs(a, ident, from_id=n)
    ok(f[0].kind == STDOUT and f[0].num(T_FRAME_ID) == n, "from behind it: no gap", f[:1])
    reap(a, ident)
    m = start(a, "true", more=[(T_RING_BYTES, 1)])
    ok(m.num(T_RING_BYTES) == 4096, "a tiny ring is made 4 KiB", m)
    wait(a, m.text(T_EXEC_ID))
    reap(a, m.text(T_EXEC_ID))
    # a reader that does not read holds up nobody
    s = a.open()
    ident = sh(a, "yes 0123456789abcde | head -c 50000000; echo end", [(T_RING_BYTES, 1 << 18)])
    s.send(BG_LOGS, [(T_EXEC_ID, ident), (T_FOLLOW, 1)])
    first = s.recv()
    t = time.time()
    m = wait(a, ident)
    ok(m.num(T_CODE) == 0 and m.num(T_TIMED_OUT) == 0, f"50 MB pass beside a reader that does not read ({time.time() - t:.1f} s)", m)
    f = [first]
    while (m := s.recv()) is not None:
        f.append(m)
        if m.kind == OK:
            break
    gone = sum(m.num(T_DROPPED_BYTES) for m in f if m.kind == GAP)
    ok(any(m.kind == GAP for m in f) and gone + len(data(f)) == 50000004 and f[-2].kind == EXIT, "it gets gaps that count to the byte, and the exit",
       (gone, len(data(f))))
    want, fine = 1, True
    for m in f[:-1]:
        if m.kind == GAP:
            want += m.num(T_DROPPED_FRAMES)
            fine &= m.num(T_FRAME_ID) == want
        else:
            fine &= m.num(T_FRAME_ID) == want
            want += 1
    ok(fine, "and every frame id is either there or in a gap")
    s.close()
    reap(a, ident)
    # a slow reader whose command is reaped under it
    ident = sh(a, "yes | head -c 4000000", [(T_RING_BYTES, 4 << 20)])
    wait(a, ident)
    s = a.open()
    s.send(BG_LOGS, [(T_EXEC_ID, ident), (T_FOLLOW, 1)])
    s.recv()
    reap(a, ident)
    last = None
    while (m := s.recv()) is not None:
        last = m
    ok(refused(last, 410), "a log that is reaped while it is read ends with 410, not as if it were whole", last)
    s.close()


def test_bg_budget(a):
    ids = []
    for i in range(4):
        ids.append(start(a, "sleep", ["60"], [(T_RING_BYTES, 64 << 20)]).text(T_EXEC_ID))
    m = start(a, "true")
    ok(refused(m, 503, "256 MiB"), "256 MiB of rings are given out: 503", m)
    ok(end(a, ids.pop()).kind == OK, "reaping one")
    m = start(a, "true")
    ok(m.kind == BG_IS, "makes room", m)
    ids.append(m.text(T_EXEC_ID))
    ok(refused(start(a, "true", more=[(T_RING_BYTES, 1 << 62)]), 503), "a ring beyond all bounds: 503")
    for i in ids:
        end(a, i)


def fds(a):
    return len(os.listdir(f"/proc/{a.p.pid}/fd"))


def test_bg_many(a):
    before, t = fds(a), time.time()
    ids = [sh(a, f"echo {i}; sleep 60", [(T_RING_BYTES, 4096)]) for i in range(60)]
    follow = [a.open() for _ in ids]
    for s, i in zip(follow, ids):
        s.send(BG_LOGS, [(T_EXEC_ID, i), (T_FOLLOW, 1)])
    fine = all(s.recv().kind == STARTED and s.recv().get(T_DATA) == b"%d\n" % n for n, s in enumerate(follow))
    ok(fine, f"60 commands with a follower each ({time.time() - t:.1f} s)")
    for i in ids:
        a.ask(BG_KILL, [(T_EXEC_ID, i), (T_SIGNAL_NAME, "KILL")])
    fine = all([s.recv().kind, s.recv().kind, s.recv()] == [EXIT, OK, None] for s in follow)
    ok(fine, "each follower sees the end")
    for s in follow:
        s.close()
    ok(all(reap(a, i).kind == OK for i in ids) and wait_for(lambda: fds(a) <= before), "and no descriptor is left behind", (before, fds(a)))


def test_bg_dies_with_agent(program):
    a = Agent(program)
    pid = start(a, "sleep", ["60"]).num(T_PID)
    up = alive(pid)
    a.stop()
    ok(up and wait_for(lambda: not alive(pid)), "background commands end with the agent")


# ---- watches ----

class Watch:
    def __init__(self, a, path, more=()):
        self.s = a.open()
        self.s.send(FS_WATCH, [(T_PATH, p) for p in ([path] if isinstance(path, str) else path)] + list(more))
        self.first = self.s.recv()
        self.end = None

    def next(self, seconds=5):
        """(kind, path) of the next event; None when none comes or it has ended."""
        self.s.s.settimeout(seconds)
        try:
            m = self.s.recv()
        except TimeoutError:
            return None
        if m is None or m.kind != FS_EVENT:
            self.end = m
            return None
        self.m = m
        return m.text(T_EVENT), m.text(T_PATH)

    def all(self, quiet=0.4):
        out = []
        while (e := self.next(quiet)) is not None:
            out.append(e)
        return out


def touch(path, text="x", how="w"):
    with open(path, how) as f:
        f.write(text)


def test_watch(a, work):
    d = tempfile.mkdtemp(dir=work)
    os.chmod(d, 0o777)
    w = Watch(a, d)
    ok(w.first.kind == OK, "a watch says when it watches", w.first)
    touch(d + "/f", "hello")
    ok(w.next() == ("create", d + "/f") and w.m.num(T_FRAME_ID) == 1 and w.m.num(T_IS_DIR) == 0 and w.m.num(T_TIME_NS) > 0, "create", w.m)
    ok(w.next() == ("write", d + "/f") and w.m.num(T_SIZE) == 5 and w.m.num(T_FRAME_ID) == 2, "write, with the size", w.m)
    os.chmod(d + "/f", 0o600)
    ok(w.next() == ("chmod", d + "/f"), "chmod")
    os.rename(d + "/f", d + "/g")
    ok(w.next() == ("rename", d + "/f") and w.next() == ("create", d + "/g"), "rename: the old path, then the new one")
    os.unlink(d + "/g")
    ok(w.next() == ("remove", d + "/g"), "remove")
    os.mkdir(d + "/sub")
    ok(w.next() == ("create", d + "/sub") and w.m.num(T_IS_DIR) == 1, "a folder is told from a file")
    touch(d + "/sub/deep")
    e = w.all()
    ok(all(p != d + "/sub/deep" for _, p in e), "not recursive: nothing from below", e)
    shutil.rmtree(d)
    e = w.all()
    ok(e[-1] == ("remove", d) and w.end is not None and w.end.kind == OK and "nothing is left" in w.end.text(T_TEXT), "the folder's own end ends the watch", (e, w.end))
    w.s.close()
    for fields, status, word in (([(T_PATH, work + "/nope")], 404, "no such"), ([], 400, "no path"), ([(T_PATH, work), (T_EVENT, "open")], 400, "open"),
                                 ([(T_PATH, work), (T_PATTERN, "")], 400, "pattern"), ([(T_PATH, work), (T_DEBOUNCE_MS, 1 << 60)], 400, "debounce")):
        m = a.ask(FS_WATCH, fields)
        ok(refused(m, status, word), f"watch refused: {word}", m)
    if ROOT:
        os.mkdir(work + "/shut", 0o700)
        m = a.ask(FS_WATCH, [(T_PATH, work + "/shut"), (T_UID, 1000)])
        ok(refused(m, 403), "with a uid, the kernel checks", m)


def test_watch_tree(a, work):
    d = tempfile.mkdtemp(dir=work)
    os.makedirs(d + "/a/b")
    w = Watch(a, d, [(T_RECURSIVE, 1), (T_EVENT, "create"), (T_EVENT, "rename")])
    touch(d + "/a/b/f")
    ok(w.next() == ("create", d + "/a/b/f"), "recursive: from below")
    want, fine = set(), True
    for i in range(40):  # made at once, so that the watches come late
        os.makedirs(f"{d}/n{i}/x/y")
        touch(f"{d}/n{i}/x/y/f")
        want |= {f"{d}/n{i}", f"{d}/n{i}/x", f"{d}/n{i}/x/y", f"{d}/n{i}/x/y/f"}
    e = w.all()
    ok(sorted(p for _, p in e) == sorted(want), "folders that appear are watched, and what they hold is said exactly once",
       (len(e), len(want), sorted(want - {p for _, p in e})[:5]))
    os.rename(d + "/n1", d + "/m1")
    ok(w.all() == [("rename", d + "/n1"), ("create", d + "/m1")], "a folder moves")
    touch(d + "/m1/x/new")
    ok(w.next() == ("create", d + "/m1/x/new"), "what is below has its new path")
    os.rename(d + "/m1", work + "/out")
    touch(work + "/out/x/unseen")
    e = w.all()
    ok(e == [("rename", d + "/m1")], "what moved out is watched no more", e)
    os.symlink("/etc", d + "/link")
    ok(w.next() == ("create", d + "/link") and w.m.num(T_IS_DIR) == 0, "a link is not followed")
    w.s.close()
    w = Watch(a, d, [(T_RECURSIVE, 1), (T_PATTERN, "*.go"), (T_PATTERN, d + "/n2/**"), (T_EVENT, "create")])
    for p in ("/x.go", "/x.c", "/n2/any", "/n3/y.go", "/n3/any"):
        touch(d + p)
    e = [p[len(d):] for _, p in w.all()]
    ok(e == ["/x.go", "/n2/any", "/n3/y.go"], "patterns: of the last part, or of the whole path", e)
    w.s.close()
    for i in range(60):
        for k in range(150):
            os.makedirs(f"{d}/many/{i}/{k}")
    m = a.ask(FS_WATCH, [(T_PATH, d), (T_RECURSIVE, 1)])
    ok(refused(m, 400, "8192"), "more than 8192 folders are refused", m)
    w = Watch(a, d + "/n3", [(T_RECURSIVE, 1)])
    os.rename(d + "/many", d + "/n3/many")
    e = [w.next(60), w.next(60)] # walking 9 000 folders takes its time
    ok(None not in e and [k for k, _ in e] == ["create", "overflow"] and "not seen" in w.m.text(T_TEXT), "more that appear later are said as overflow", e)
    w.s.close()


def test_watch_ends(a, work):
    d = tempfile.mkdtemp(dir=work)
    w = Watch(a, d, [(T_ONE_SHOT, 1)])
    touch(d + "/1")
    e = w.all(3)
    ok(e == [("create", d + "/1")] and w.end.kind == OK and w.s.recv() is None, "one_shot: one event, then the end", (e, w.end))
    w = Watch(a, d, [(T_MAX_EVENTS, 3)])
    touch(d + "/2")
    touch(d + "/3")
    e = w.all(3)
    ok(len(e) == 3 and w.end.kind == OK and w.end.text(T_TEXT), "max_events", (e, w.end))
    t = time.time()
    w = Watch(a, d, [(T_TIMEOUT_MS, 400)])
    e = w.all(5)
    ok(e == [] and w.end.kind == OK and 0.35 < time.time() - t < 3, "timeout", (e, w.end))
    w = Watch(a, d, [(T_DEBOUNCE_MS, 400)])
    t = time.time()
    for i in range(10):
        touch(d + "/log", "line\n", "a")
        time.sleep(0.01)
    first = w.next()
    took = time.time() - t
    e = w.all(0.8)
    ok([first] + e == [("create", d + "/log"), ("write", d + "/log")] and 0.35 < took < 3, "debounce: ten writes are one event, at the end of the time", (first, e, took))
    touch(d + "/log", "line\n", "a")
    ok(w.next() == ("write", d + "/log"), "the next burst is said again")
    w.s.close()
    touch(d + "/file", "1")
    w = Watch(a, [d + "/file"], [])
    touch(d + "/other", "1")
    touch(d + "/tmp", "22")
    os.rename(d + "/tmp", d + "/file")
    touch(d + "/file", "333")
    e = w.all()
    ok(e[0] == ("create", d + "/file") and e[-1] == ("write", d + "/file") and {p for _, p in e} == {d + "/file"}, "one file is watched beyond its replacement", e)
    w.s.close()
    kids = lambda: [p for p in os.listdir("/proc") if p.isdigit() and stat_ppid(p) == a.p.pid]  # noqa: E731
    gone = wait_for(lambda: kids() == [])
    w = Watch(a, d)
    n = len(kids())
    w.s.close()
    ok(gone and n == 1 and wait_for(lambda: kids() == []), "a host that leaves ends its watch")
    if ROOT:
        limit = open("/proc/sys/fs/inotify/max_queued_events").read()
        w = Watch(a, d, [(T_EVENT, "create")])
        for i in range(int(limit) + 12000 if int(limit) < 40000 else 0):
            os.close(os.open(f"{d}/many{i}", os.O_CREAT | os.O_WRONLY))
        if int(limit) < 40000:
            e = w.all(1)
            lost = [k for k, _ in e].count("overflow")
            ok(len(e) >= int(limit) and lost >= 1, f"a burst of events beside a slow host: {len(e)} come, the loss of others is said", lost)
        w.s.close()


def stat_ppid(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


# ---- chunked uploads ----

def upload(program, *args):
    p = subprocess.run([program, "upload", *args], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


class Session:
    """What a client sends: chunks by ordinary copies, then the manifest."""

    def __init__(self, a, program, dest, data, chunk=100000, uid=None, **fields):
        self.a, self.program, self.dest = a, program, dest
        self.uid = uid if uid is not None else (1000 if ROOT else os.getuid())
        self.folder = os.path.dirname(dest.rstrip("/")) + "/.slicer-upload-" + os.urandom(16).hex()
        parts = [data[i:i + chunk] for i in range(0, len(data), chunk)]
        self.manifest = {"version": 2, "mode": "binary", "destination": dest, "uid": self.uid, "gid": self.uid, "permissions": "", "size": len(data),
                         "copy_semantics": "cp-v1", "source_name": "src", "source_type": "file", "copy_contents": False,
                         "chunks": [{"index": i, "size": len(x), "sha256": hashlib.sha256(x).hexdigest()} for i, x in enumerate(parts)]}
        self.manifest.update(fields)
        for i, x in enumerate(parts):
            self.put("chunks/%06d.chunk" % i, x)

    def put(self, name, data):
        m = self.a.cp_in(self.folder + "/" + name, "binary", data, [(T_UID, self.uid), (T_PERM, 0o600)])
        assert m is not None and m.kind == OK, m

    def run(self, word, text=None):
        if word == "finalise":
            self.put("manifest.json", text if text is not None else json.dumps(self.manifest).encode())
        return upload(self.program, word, "--manifest", self.folder + "/manifest.json", "--uid", str(self.uid), "--gid", str(self.uid))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def tar_of(files):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in files:
            ti = tarfile.TarInfo(name)
            ti.type, ti.size, ti.mode = (tarfile.DIRTYPE, 0, 0o755) if data is None else (tarfile.REGTYPE, len(data), 0o644)
            t.addfile(ti, io.BytesIO(data or b""))
    return b.getvalue()


def test_upload(a, program, work):
    ok(upload(program, "check") == (0, "chunked-copy-v2\n", ""), "upload check says the version")
    for args in ([], ["what"], ["finalise"], ["finalise", "--manifest"], ["abort", "--uid", "x", "--manifest", "/x"], ["check", "more"]):
        ok(upload(program, *args)[0] == 2, f"usage: {args}")
    d = tempfile.mkdtemp(dir=work)
    os.chmod(d, 0o777)
    data = os.urandom(1050001)
    s = Session(a, program, d + "/new/file", data, permissions="0640")
    r = s.run("finalise")
    st = os.stat(d + "/new/file")
    ok(r == (0, "", "") and read(d + "/new/file") == data and st.st_mode & 0o7777 == 0o640 and st.st_uid == s.uid, "eleven chunks make one file, the user's own", r)
    ok(os.listdir(d + "/new") == ["file"], "and the session is removed")
    r = Session(a, program, d + "/new", data, source_name="inside").run("finalise")
    ok(r[0] == 0 and read(d + "/new/inside") == data, "cp rules: into a folder, by its name", r)
    s = Session(a, program, d + "/empty", b"")
    ok(s.run("finalise")[0] == 0 and read(d + "/empty") == b"", "a file of no bytes")
    old = Session(a, program, d + "/v1", data, version=1, copy_semantics="", sha256=hashlib.sha256(data).hexdigest())
    for i, c in enumerate(old.manifest["chunks"]):
        os.rename("%s/chunks/%06d.chunk" % (old.folder, i), "%s/chunks/%06d-%s.chunk" % (old.folder, i, c["sha256"]))
    r = old.run("finalise")
    ok(r[0] == 0 and read(d + "/v1") == data, "version 1 and its names of chunks", r)
    tree = tar_of([("a", b"1" * 300000), ("dir", None), ("dir/b", b"2")])
    r = Session(a, program, d + "/tree", tree, mode="tar", source_type="directory", unpacked_size=300001).run("finalise")
    ok(r[0] == 0 and read(d + "/tree/dir/b") == b"2" and len(read(d + "/tree/a")) == 300000, "a tar is unpacked", r)
    r = Session(a, program, d + "/tree", tree, mode="tar", source_type="directory", source_name="again").run("finalise")
    ok(r[0] == 0 and read(d + "/tree/again/dir/b") == b"2", "cp rules for folders", r)

    # what must not go through: the destination stays as it was
    def fails(what, word, change=None, text=None, content=b"other" * 50000, **fields):
        s = Session(a, program, d + "/v1", content, **fields)
        if change:
            change(s)
        r = s.run("finalise", text)
        ok(r[0] == 1 and word in r[2] and read(d + "/v1") == data and not os.path.exists(d + "/up"), f"refused: {what}", r)
        r = s.run("abort")
        ok(r[0] == 0 and not os.path.exists(s.folder), "and abort removes it", r)
    fails("a chunk that differs", "chunk 1", lambda s: s.put("chunks/000001.chunk", b"x" * 100000))
    fails("a chunk that is short", "chunk 2", lambda s: s.put("chunks/000002.chunk", b"x"))
    fails("a chunk that is missing", "chunk 0", lambda s: os.unlink(s.folder + "/chunks/000000.chunk"))
    fails("no chunks at all", "chunks", lambda s: shutil.rmtree(s.folder + "/chunks"))
    fails("sizes that do not add up", "together", size=1)
    fails("chunks out of order", "says it is", lambda s: s.manifest["chunks"].reverse())
    fails("an unknown version", "version", version=3)
    fails("an unknown mode", "mode", mode="zip")
    fails("no JSON", "manifest", text=b"{")
    fails("a wrong whole sum", "together", sha256="0" * 64)
    fails("a tar that is none", "", mode="tar", source_type="directory", destination=d + "/t")
    fails("a tar that would leave its folder", "../up", mode="tar", source_type="directory", destination=d + "/t", content=tar_of([("../up", b"1")]))
    fails("a folder onto a file", "not a folder", mode="tar", source_type="directory", content=tar_of([("x", b"1")]))
    fails("more than fits", "fit", destination=d + "/t", mode="tar", source_type="directory", unpacked_size=1 << 60)
    fails("a bad mode", "octal", permissions="rw")

    def link(s):
        os.unlink(s.folder + "/chunks/000000.chunk")
        os.symlink("/etc/passwd", s.folder + "/chunks/000000.chunk")
    fails("a chunk that is a link", "chunk", link)

    def fifo(s):
        os.unlink(s.folder + "/chunks/000000.chunk")
        os.mkfifo(s.folder + "/chunks/000000.chunk")
    fails("a chunk that is a pipe", "chunk 0", fifo)
    keep = d + "/keep"
    os.makedirs(keep + "/chunks")
    touch(keep + "/manifest.json", "{}")
    for path in (keep + "/manifest.json", keep + "/.slicer-upload-" + "0" * 31 + "/manifest.json", keep + "/.slicer-upload-" + "G" * 32 + "/manifest.json",
                 d + "/.slicer-upload-" + "0" * 32 + "/../keep/manifest.json", keep + "/.slicer-upload-" + "0" * 32 + "/other.json"):
        r = upload(program, "abort", "--manifest", path)
        ok(r[0] == 1 and "not the manifest of an upload" in r[2] and os.path.exists(keep + "/manifest.json"), "only an upload's own folder is removed", r)
    os.symlink(keep, d + "/.slicer-upload-" + "1" * 32)
    r = upload(program, "abort", "--manifest", d + "/.slicer-upload-" + "1" * 32 + "/manifest.json")
    ok(r[0] == 1 and os.path.exists(keep + "/manifest.json"), "not through a link", r)
    r = upload(program, "abort", "--manifest", d + "/.slicer-upload-" + "2" * 32 + "/manifest.json")
    ok(r[0] == 0, "abort of what never began is no fault", r)
    if ROOT:
        s = Session(a, program, d + "/mine", data)
        s.manifest["destination"] = "/root/not-mine"
        r = s.run("finalise")
        ok(r[0] == 1 and not os.path.exists("/root/not-mine"), "it writes with the user's rights, not root's", r)
        s.run("abort")
    ok(sorted(x for x in os.listdir(d) if x.startswith(".slicer")) == [".slicer-upload-" + "1" * 32], "nothing is left over", os.listdir(d))


def main():
    program = os.path.abspath(sys.argv[1])
    a = Agent(program)
    work = tempfile.mkdtemp(prefix="mica-agent-")
    os.chmod(work, 0o777)
    os.chmod(a.dir.name, 0o755)
    try:
        test_bg_life(a)
        test_bg_refusals(a)
        test_bg_list(a)
        test_bg_survives(a)
        test_bg_wait(a)
        test_bg_kill(a)
        test_bg_ring(a)
        test_bg_budget(a)
        test_bg_many(a)
        test_watch(a, work)
        test_watch_tree(a, work)
        test_watch_ends(a, work)
        test_upload(a, program, work)
        ok(a.p.poll() is None, "the agent lived through all of it")
        test_bg_dies_with_agent(program)
    finally:
        a.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
