"""exec with stdin: the reply flows while the request body still arrives (contract 1.7, wire rules)."""
import hashlib
import time

from client import payload, query
from world import limit, must, same


def open_cat(env, conn, cmd="cat", **params):
    conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd=cmd, stdin=True, stdio="base64", **params), chunked=True)
    return conn.response()


def case_duplex(env):
    """what goes into cat comes back before the next piece is sent"""
    with env.api.conn() as conn:
        frames = open_cat(env, conn).lines()
        same(next(frames)["type"], "started")
        for word in (b"one\n", b"two\n", b"three\n"):
            conn.chunk(word)
            same(payload(next(frames)), word)
        conn.last_chunk()
        last = list(frames)[-1]
        same((last["type"], last["exit_code"]), ("exit", 0))


def case_content_length(env):
    """stdin with a Content-Length, and an empty one"""
    same(env.api.run(env.vm(), "wc", ["-c"], stdin=b"x" * 100000)[1].strip(), b"100000")
    same(env.api.run(env.vm(), "wc", ["-c"], stdin=b"")[1].strip(), b"0")


def case_no_stdin(env):
    """without stdin=true the command reads an end of file at once"""
    same(env.api.run(env.vm(), "cat", timeout_s=20)[:2], (0, b""))


def case_exit_before_body_ends(env):
    """a command that ends without reading its stdin: the exit frame comes although the body is not finished"""
    with env.api.conn(20) as conn:
        frames = list(open_cat(env, conn, "/bin/sh", args=["-c", "exit 5"]).lines())
        same(frames[-1]["exit_code"], 5)


def case_head_closes(env):
    """a command that reads a little of a large body"""
    with env.api.conn(60) as conn:
        reply = open_cat(env, conn, "head", args=["-c", "3"])
        got = b""
        try:
            for _ in range(64):
                conn.chunk(b"abcdefgh" * 4096)
            conn.last_chunk()
        except OSError:
            pass
        for frame in reply.lines():
            got += payload(frame)
        same((got, frame["type"]), (b"abc", "exit"))


@limit(120)
def case_large_both_ways(env):
    """a large body through cat, sent and read at the same time, with equal hash"""
    import os
    import threading
    data = os.urandom((16 if env.full else 2) << 20)
    with env.api.conn(120) as conn:
        reply = open_cat(env, conn)

        def feed():
            for at in range(0, len(data), 70001):
                conn.chunk(data[at:at + 70001])
            conn.last_chunk()

        feeder = threading.Thread(target=feed)
        feeder.start()
        got = hashlib.sha256()
        for frame in reply.lines():
            got.update(payload(frame))
        feeder.join()
    same(got.hexdigest(), hashlib.sha256(data).hexdigest())


def case_client_gone(env):
    """a client that leaves with its stdin open: the command does not stay"""
    with env.api.conn() as conn:
        frames = open_cat(env, conn, "/bin/sh", uid=0, args=["-c", "echo up; cat; exec sleep 777"]).lines()
        while next(frames)["type"] != "stdout":
            pass
    gone = b""
    for _ in range(40):
        gone = env.api.sh(env.vm(), "ps | grep -q '[s]leep 777\\|echo up; [c]at' || echo gone")[1]
        if gone:
            break
        time.sleep(0.25)
    must(gone == b"gone\n", "still there")
