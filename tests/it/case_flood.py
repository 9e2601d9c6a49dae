"""A guest that floods: its own console, many streams. The host's files stay bounded and others are served. The one that floods
has one vCPU: two that fight over the console's lock starve each other on an emulated CPU."""
import os
import time

from client import query
from world import limit, must, same


def tree_bytes(path):
    total = 0
    for base, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(base, name)).st_blocks * 512
            except OSError:
                pass
    return total


@limit(120)
def case_console(env):
    """a guest that writes to its console without end: the log stays bounded, exec and the other VM go on"""
    before = tree_bytes(env.main.state) if os.path.isdir(env.main.state) else 0
    seconds = 20 if env.full else 8
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(1), cmd="/bin/sh", uid=0, args=["-c", "yes flood-flood-flood >/dev/console"]))
        conn.response()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            same(env.api.sh(env.vm(2), "echo ok", timeout_s=60)[1], b"ok\n", "the other VM")
        same(env.api.sh(env.vm(1), "echo ok", timeout_s=120)[1], b"ok\n", "the flooding VM")
    grown = tree_bytes(env.main.state) - before if os.path.isdir(env.main.state) else 0
    must(grown < 64 << 20, "the state folder grew by", grown, "bytes")
    must(len(env.api.get("/vm/%s/logs" % env.vm(1))["content"]) < 100000, "20 lines of log")


@limit(180)
def case_many_streams(env):
    """sixty execs at once in one VM all give their own output"""
    import threading
    count, wrong = 60 if env.full else 24, []

    def one(number):
        try:
            code, out, _ = env.api.sh(env.vm(1), "echo n%d; head -c 20000 /dev/zero | wc -c" % number, timeout_s=150)
            if (code, out) != (0, b"n%d\n20000\n" % number):
                wrong.append((number, code, out))
        except Exception as e:
            wrong.append((number, repr(e)))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(wrong, [])


@limit(120)
def case_vsock(env):
    """output floods that nobody reads, on many streams, hold nobody else up"""
    held = []
    try:
        for _ in range(12):
            conn = env.api.conn()
            conn.start("POST", query("/vm/%s/exec" % env.vm(1), cmd="cat", args="/dev/zero"))
            held.append(conn)
        time.sleep(2)
        same(env.api.sh(env.vm(1), "echo through", timeout_s=100)[1], b"through\n")
        same(env.api.sh(env.vm(2), "echo through", timeout_s=100)[1], b"through\n")
    finally:
        for conn in held:
            conn.close()
    for _ in range(60):
        if env.api.sh(env.vm(1), "ps | grep -c '[c]at /dev/zero' || true")[1].strip() == b"0":
            return
        time.sleep(0.25)
    must(False, "the floods go on after their clients left")
