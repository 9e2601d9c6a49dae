"""Bytes no honest client sends: each gets a clear refusal, and the daemon goes on."""
import json
import socket
import struct
import time
import urllib.parse

from client import Broken, Conn, WebSocket, query
from world import limit, must, same


def raw_exchange(env, data, half_close=False, timeout_s=10):
    """What the server says to these bytes, until it closes or is silent for a second."""
    with Conn(env.main.address, timeout_s) as conn:
        try:
            conn.raw(data)
            if half_close:
                conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        conn.sock.settimeout(1.0 * env.patience)
        got = b""
        try:
            while len(got) < 65536:
                piece = conn.sock.recv(65536)
                if not piece:
                    break
                got += piece
        except OSError:
            pass
    return got


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def alive(env):
    same(env.api.get("/info")["platform"], "linux")


def case_heads(env):
    """broken request heads: 4xx or the connection closed"""
    heads = (b"\r\n\r\n", b"GET\r\n\r\n", b"GET /info\r\n\r\n", b"GET /info HTTP/9.9\r\n\r\n", b"G\0T /info HTTP/1.1\r\nHost: x\r\n\r\n",
             b"GET /in\0fo HTTP/1.1\r\nHost: x\r\n\r\n", b"GET info HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /info HTTP/1.1\r\nNo colon\r\n\r\n",
             b"GET /info HTTP/1.1\r\nA : b\r\n\r\n", b"GET /info HTTP/1.1\r\n folded: x\r\n\r\n", b"GET /info HTTP/1.1\r\nX: a\0b\r\n\r\n",
             b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\xff" * 300 + b"\r\n\r\n",
             b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET /info HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    for head in heads:
        reply = raw_exchange(env, head)
        must(reply == b"" or 400 <= status_of(reply) < 600, "to", head[:60], "it said", reply[:200])
    alive(env)


def case_smuggling(env):
    """two lengths, length and chunked, odd lengths, odd codings: refused"""
    post = b"POST /hostgroup/it/nodes HTTP/1.1\r\nHost: x\r\n"
    for lines, body in ((b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}x"), (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
                        (b"Content-Length: -2\r\n", b"{}"), (b"Content-Length: 0x2\r\n", b"{}"), (b"Content-Length: 99999999999999999999\r\n", b"{}"),
                        (b"Content-Length: 2, 2\r\n", b"{}"), (b"Transfer-Encoding: gzip\r\n", b"{}"), (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
                        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"), (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n{}"),
                        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n{}\r\n0\r\n\r\n"), (b"Transfer-Encoding: chunked\r\n", b"2\r\n{}XX0\r\n\r\n")):
        before = len(env.api.get("/nodes"))
        reply = raw_exchange(env, post + lines + b"\r\n" + body)
        must(reply == b"" or 400 <= status_of(reply) < 600, "to", lines, body, "it said", reply[:200])
        same(len(env.api.get("/nodes")), before, "VMs")


def case_body_limit(env):
    """a JSON body of 64 MiB is refused before it is read whole"""
    head = b"POST /hostgroup/it/nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n"
    reply = raw_exchange(env, head + b'{"tags":["' + b"a" * 2000000)
    must(reply == b"" or status_of(reply) in (400, 413), reply[:200])
    alive(env)


def case_names(env):
    """VM and group names with tricks: 4xx, never a 5xx, never a file"""
    vm = env.vm()
    names = ("..", "../..", "../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "it-1%00", "%00", "it-1%2f..%2fit-1", "commits",
             "a" * 4096, "%ff%fe", "it-1%0a", "it-1 ".replace(" ", "%20"), "it-01", "it-+1", "it--1", "it-99999999999999999999", "%", "%zz", "%2")
    for name in names:
        for method, path in (("GET", "/vm/%s"), ("GET", "/vm/%s/logs?lines=0"), ("GET", "/vm/%s/health"), ("POST", "/vm/%s/exec?cmd=id"),
                             ("POST", "/vm/%s/cp?path=/tmp/x"), ("GET", "/hostgroup/%s/nodes"), ("DELETE", "/hostgroup/it/nodes/%s")):
            status, _, body = env.api.call(method, path % name)
            must(400 <= status < 500 or (name, method, status) == ("commits", "GET", 200), method, path % name[:80], status, body[:100])
            must(b"root:" not in body, "a host's file came out")
    same(len([n for n in env.api.get("/nodes") if n["hostname"] == vm]), 1, "the VM is still there")


def case_queries(env):
    """queries with tricks: 4xx"""
    vm = env.vm()
    for path in ("/vm/%s/exec?cmd=%%00" % vm, "/vm/%s/exec?cmd=a%%00b" % vm, "/vm/%s/exec?cmd=id&cwd=%%00" % vm, "/vm/%s/exec?cmd=" % vm,
                 "/vm/%s/exec?cmd=id&uid=-1" % vm, "/vm/%s/exec?cmd=id&gid=4294967296" % vm, "/vm/%s/exec?cmd=id&env=NOEQUALS" % vm,
                 "/vm/%s/exec?%s" % (vm, "&".join("args=x" for _ in range(5000))), "/vm/%s/cp?path=" % vm, "/vm/%s/cp?path=a%%00b" % vm,
                 "/vm/%s/cp?path=/tmp/x&permissions=999" % vm, "/vm/%s/cp?path=/tmp/x&uid=x" % vm):
        status, _, body = env.api.call("POST", path)
        if status == 200 and "/exec" in path:  # an exec that could not start says so in its frame
            last = json.loads(body.rstrip(b"\n").split(b"\n")[-1])
            must(last["exit_code"] != 0 and last.get("error"), path[:100], body[:200])
            continue
        must(400 <= status < 500, path[:100], status, body[:100])
    must(env.api.call("GET", "/vm/%s/logs?lines=many" % vm)[0] in (200, 400), "lines=many")
    alive(env)


def case_deep_json(env):
    """JSON nested 100 000 deep, a 5 MB string, a number of 10 000 digits: 400"""
    for body in (b"[" * 100000, b'{"a":' * 50000, b'{"cpus":' + b"9" * 10000 + b"}", b'{"tags":["\\ud800"]}', b'{"tags":["\xff"]}', b'{"cpus":1}garbage'):
        status, _, answer = env.api.call("POST", "/hostgroup/it/nodes", body)
        must(status in (400, 413), body[:20], status, answer[:100])
    alive(env)


def case_slow_client(env):
    """fifty connections that send half a head and wait: others are served"""
    half = []
    try:
        for _ in range(50):
            conn = Conn(env.main.address, 10)
            conn.raw(b"GET /info HT")
            half.append(conn)
        alive(env)
        same(env.api.sh(env.vm(), "echo served")[1], b"served\n")
    finally:
        for conn in half:
            conn.close()


def case_pipelined(env):
    """requests sent in one piece are answered in order"""
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    reply = raw_exchange(env, one * 3 + b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    same((reply.count(b"HTTP/1.1 200"), reply.count(b"HTTP/1.1 404")), (3, 1))


def case_websocket_garbage(env):
    """unmasked, oversized, reserved and truncated WebSocket frames end that connection only"""
    bad = (b"\x82\x05hello", b"\x82\xff" + struct.pack(">Q", 1 << 62) + b"\0" * 4, b"\xf2\x80\0\0\0\0", b"\x83\x80\0\0\0\0",
           b"\x89\xfe\x01\x00" + b"\0" * 260, b"\x82", b"\x02\x80\0\0\0\0" * 3 + b"\x82\x85")
    for data in bad:
        with env.api.conn(10) as conn:
            ws = WebSocket(conn, query("/vm/%s/shell" % env.vm(), uid=0, shell="/bin/sh"))
            same(ws.reply.status, 101)
            conn.raw(data)
            conn.sock.shutdown(socket.SHUT_WR)
            try:
                while True:
                    conn.exactly(1)
            except (Broken, OSError):
                pass
    same(env.api.sh(env.vm(), "echo alive")[1], b"alive\n")


def case_disconnect_everywhere(env):
    """a client that leaves after 1, 10, 60 … bytes of a request"""
    whole = b"POST /vm/%s/cp?path=/tmp/z&mode=binary HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789" % env.vm().encode()
    for cut in (1, 10, 40, 60, len(whole) - 12, len(whole) - 1, len(whole)):
        with Conn(env.main.address) as conn:
            conn.raw(whole[:cut])
    alive(env)
    must(env.api.sh(env.vm(), "ls /tmp/z 2>/dev/null")[1] == b"", "a half upload was kept")


@limit(120)
def case_no_leak(env):
    """the daemon's descriptors after all this are about as many as before"""
    def count():
        import os
        total = 0
        for pid in env.main.daemon_pids():
            try:
                total += len(os.listdir("/proc/%d/fd" % pid))
            except OSError:
                pass
        return total
    time.sleep(1)
    before = count()
    for _ in range(20):
        with env.api.conn() as conn:
            conn.start("POST", query("/vm/%s/exec" % env.vm(), cmd="sleep", args="100"))
            conn.response()
    time.sleep(3)
    after = count()
    must(after <= before + 4, "descriptors before and after twenty broken execs", before, after)
