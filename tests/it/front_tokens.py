#!/usr/bin/env python3
"""front_tokens.py FRONT AGENT: scopes of every route, the routes of named tokens, and what a cut does to streams, of the real front and the
real agent with a stand-in for core. TAP."""
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fakecore  # noqa: E402
from client import Api, Broken, Conn, WebSocket, query, wait_for  # noqa: E402
from fakecore import AUTH, CONNECT, CREATE, ITEM, NODES, Refused, Rig, T  # noqa: E402
import frames  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CUT, LIST, MAKE, REVOKE = 18, 64, 65, 66
T.update(FOR=112, SCOPE=113, TOKEN=114, LIFE_MS=115, EXPIRES_NS=116, LAST_USED_NS=117, EXPIRED=118, QUOTA=352, SIZE=64)
SCOPES = ["read", "vm", "exec", "files", "net", "admin"]
ANY = 64
NS = 1788256800123456789
TIME = "2026-09-01T10:00:00.123456789Z"
EXEC = "/vm/demo-1/exec"


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def quota(name, most, *used):
    """One nested QUOTA field."""
    fields = [(T["NAME"], name), (T["COUNT"], most)] + [(T["SIZE"], n) for n in used]
    return T["QUOTA"], b"".join(frames.field(*f) for f in fields)


class Core(fakecore.FakeCore):
    """Beside the rig's own token it knows those in .scoped: text → scopes (each for itself: what implies what is core's business)."""

    def check(self, m):
        scoped = {digest(text): scopes for text, scopes in self.__dict__.setdefault("scoped", {}).items()}
        if not self.needs_token(m) or m.get(T["AUTH"]) not in scoped:
            return super().check(m)
        need = m.num(T["FOR"]) if m.kind in (AUTH, CONNECT) else None
        if need is not None and need != ANY and SCOPES[need.bit_length() - 1] not in scoped[m.get(T["AUTH"])]:
            raise Refused(403, "this token lacks scope '%s'" % SCOPES[need.bit_length() - 1])

    def answer(self, m):
        if m.kind == LIST:
            for name in ("a", "b"):
                self.chan.send(ITEM, self.token_fields(name), ident=m.id)
            return [(T["NAME"], "x")], []
        if m.kind == MAKE:
            return self.token_fields(m.text(T["NAME"])) + [(T["TOKEN"], "mica_text")], []
        if m.kind == REVOKE:
            if m.text(T["NAME"]) != "ci":
                raise Refused(404, "no such token")
            return [(T["TEXT"], "revoked")], []
        return super().answer(m)

    def token_fields(self, name):
        more = [(T["GROUP"], "sbox"), (T["EXPIRES_NS"], NS), (T["LAST_USED_NS"], NS), (T["EXPIRED"], 1), *(quota(*q) for q in (("max_vms", 4, 1), ("max_ram", 1 << 33, 0)))] if name == "b" else [(T["EXPIRED"], 0)]
        return [(T["NAME"], name), (T["SCOPE"], "read"), (T["SCOPE"], "exec"), (T["CREATED_NS"], NS)] + more

    def cut(self, text):
        self.chan.send(CUT, [(T["AUTH"], digest(text))], ident=0)


fakecore.FakeCore = Core


def routes(front):
    """[(method, path, scope)] as front says."""
    return [tuple(line.split(" ")) for line in subprocess.run([front, "--routes"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()]


def described():
    """{(METHOD, path): (scope, 403 is there)} of openapi.yaml."""
    rows, inside, path, at = {}, False, None, None
    for line in open(os.path.join(TOP, "api/openapi.yaml")).read().split("\n"):
        if re.match(r"\S", line):
            inside = line == "paths:"
        elif inside and re.match(r"  /", line):
            path = re.sub(r"\{\w+\}", "{}", line.strip().rstrip(":"))
        elif inside and re.match(r"    \w+:$", line):
            at = (line.strip().rstrip(":").upper(), path)
            rows[at] = [None, False]
        elif inside and line == "      security: []":
            rows[at][0] = "open"
        elif inside and line.startswith("      security:"):
            rows[at][0] = re.search(r"bearer: \[(\w+)\]", line).group(1)
        elif inside and '"403"' in line:
            rows[at][1] = True
    return rows


def case_routes(rig):
    table = routes(sys.argv[1])
    api = described()
    tap.ok(len(table) > 45, "%d routes" % len(table))
    for method, path, scope in table:
        what = "%s %s" % (method, path)
        url = path.replace("{}", "demo-1" if path.startswith(("/vm", "/node")) else "demo", 1).replace("{}", "demo-1")
        # every token may read: 403 is never the answer of such a route
        same(tuple(api.get((method, path), ())), (scope, scope not in ("open", "read")), "%s: scope %s, and described so" % (what, scope))
        if scope == "open":
            continue
        rig.core.vms["demo-1"] = dict(group="demo", tags=[], status="Running")
        rig.core.scoped = {"lacks": [s for s in SCOPES if s != scope], "has": [scope]}
        before = len(rig.core.asked)
        status, headers, body = Api(rig.tcp_address, "lacks").call(method, url)
        same(status, 403, "%s without %s: 403" % (what, scope))
        if method != "HEAD":
            same((json.loads(body), headers["content-type"]), ({"error": "this token lacks scope '%s'" % scope}, "application/json"), "… which names it")
        asked = rig.core.asked[before:]
        same([(m.kind, m.num(T["FOR"])) for m in asked], [(AUTH, 1 << SCOPES.index(scope))], "… and nothing else was asked of core")
        before = len(rig.core.asked)
        status = Api(rig.tcp_address, "has").call(method, url)[0]
        tap.ok(status not in (401, 403), "%s with it: %d" % (what, status))
        same({m.num(T["FOR"]) for m in rig.core.asked[before:] if m.kind == CONNECT} - {1 << SCOPES.index(scope)}, set(), "… its streams are for that")
    rig.core.vms["demo-1"] = dict(group="demo", tags=[], status="Running")
    same(Api(rig.tcp_address, "has").call("GET", "/nope")[0], 404, "what is not there is said to any good token")
    same(Api(rig.tcp_address, "unknown").call("GET", "/nope")[0], 401, "and to no other")
    rig.core.scoped = {"none": []}
    same(Api(rig.api_sock, "none").call("GET", "/nodes")[0], 200, "where no token is needed none is looked at")


def case_refused(rig):
    good = {"name": "ci", "scopes": ["read"]}
    for body in (b"{", b"[]", {}, {"scopes": ["read"]}, dict(good, name=7), dict(good, name="a\0"), dict(good, scopes="read"), dict(good, scopes=[1]),
                 dict(good, groups="sbox"), dict(good, groups=[None]), dict(good, expires=24), dict(good, expires="24"), dict(good, expires="soon"),
                 dict(good, expires="-1h"), dict(good, expires="2026-13-01T00:00:00Z"), dict(good, expires="2026-02-29T00:00:00Z"),
                 dict(good, expires="2026-01-01"), dict(good, expires="2026-01-01T00:00:00"), dict(good, expires="2026-01-01T00:00:00Zx")):
        status, _, text = rig.api.call("POST", "/tokens", body)
        same(status, 400, "POST %r: 400" % (body,))
        tap.ok(json.loads(text)["error"], "… with a sentence")
    same(rig.api.call("POST", "/tokens", b" " * (1 << 20) + b"{}")[0], 413, "a body over 1 MiB: 413")
    for name in ("nosuch", "x" * 65, "..%2ftoken"):
        same(rig.api.call("DELETE", "/tokens/" + name)[0], 404, "DELETE %s: 404" % name[:20])
    same([rig.api.call("GET", "/tokens/ci")[0], rig.api.call("PUT", "/tokens")[0]], [405, 405], "no other methods")


def case_tokens(rig):
    a = {"name": "a", "scopes": ["read", "exec"], "groups": [], "quota": {}, "created_at": TIME, "expired": False}
    b = dict(a, name="b", groups=["sbox"], quota={"max_vms": {"limit": 4, "used": 1}, "max_ram": {"limit": 1 << 33, "used": 0}}, expires_at=TIME, last_used_at=TIME, expired=True)
    same(rig.api.get("/tokens"), [a, b], "listed, without their text")
    for expires, tag, value in ((None, None, None), ("", None, None), ("24h", "LIFE_MS", 86400000), ("1m30s", "LIFE_MS", 90000),
                                ("2026-09-01T10:00:00.123456789Z", "EXPIRES_NS", NS), ("2026-09-01T12:30:00.5+02:30", "EXPIRES_NS", 1788256800500000000),
                                ("2024-02-29T00:00:00Z", "EXPIRES_NS", 1709164800000000000)):
        body = {"name": "ci", "scopes": ["vm", "exec"], "groups": ["sbox"]}
        status, _, text = rig.api.call("POST", "/tokens", body if expires is None else dict(body, expires=expires))
        same((status, json.loads(text)), (201, dict(a, name="ci", token="mica_text")), "made, expires %r: 201 with its text" % expires)
        m = rig.core.asked[-1]
        same((m.kind, m.text(T["NAME"]), m.all(T["SCOPE"]), m.all(T["GROUP"])), (MAKE, "ci", ["vm", "exec"], ["sbox"]), "… core gets it")
        same([m.num(T["LIFE_MS"]), m.num(T["EXPIRES_NS"])], [value if tag == "LIFE_MS" else None, value if tag == "EXPIRES_NS" else None], "… and its end")
    limits = {"max_vms": 4, "max_vcpus": 8, "max_ram": "8G", "max_disk": 1 << 40}
    same(rig.api.call("POST", "/tokens", {"name": "ci", "scopes": ["vm"], **limits})[0], 201, "made with quotas")
    same([v for tag, v in rig.core.asked[-1].list if tag == T["QUOTA"]], [quota(*q)[1] for q in (("max_vms", 4), ("max_vcpus", 8), ("max_ram", 8 << 30), ("max_disk", 1 << 40))],
         "… core gets them")
    for bad in ({"max_vms": 0}, {"max_vms": -1}, {"max_vms": "4"}, {"max_ram": "lots"}, {"max_ram": ""}, {"max_disk": 1.5}, {"max_vcpus": []}):
        status, _, text = rig.api.call("POST", "/tokens", {"name": "ci", "scopes": ["vm"], **bad})
        same((status, next(iter(bad)) in json.loads(text)["error"]), (400, True), "%s: 400" % bad)
    same(rig.api.call("DELETE", "/tokens/ci")[0::2], (200, b'{"message":"revoked"}'), "revoked")


# ---- cuts ----

def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def begin(rig, token, method, path, address=None):
    conn = Conn(address or rig.tcp_address, 20)
    conn.start(method, path, {"Authorization": "Bearer " + token})
    return conn


def ends_broken(conn, reply):
    """Without the last chunk."""
    try:
        reply.read()
        return False
    except Broken:
        return True


def exec_of(rig, token, script, address=None, **params):
    conn = begin(rig, token, "POST", query(EXEC, cmd="/bin/sh", args=["-c", script], **params), address)
    lines = conn.response().lines()
    return conn, lines, next(lines)["pid"]


def case_cut_exec(rig):
    rig.core.scoped = {"cut": SCOPES, "kept": SCOPES}
    one, lines, pid = exec_of(rig, "cut", "echo hi; exec sleep 1000")
    loud, noise, loud_pid = exec_of(rig, "cut", "while :; do echo 0123456789; done")
    kept, _, kept_pid = exec_of(rig, "kept", "exec sleep 1000")
    local, local_lines, _ = exec_of(rig, "cut", "sleep 0.5; exit 4", address=rig.api_sock)
    same(next(lines).get("stdout"), "hi\n", "a command runs")
    rig.core.cut("cut")
    last = list(lines)
    same((len(last), last[-1]["type"], last[-1]["exit_code"], "revoked" in last[-1].get("error", "")), (1, "exit", 255, True), "cut: its end says why, and is no success")
    last = [x for x in noise if x["type"] == "exit"]
    same((len(last), last[0]["exit_code"], "revoked" in last[0].get("error", "")), (1, 255, True), "one that never stops talking, too")
    tap.ok(wait_for(lambda: not alive(pid) and not alive(loud_pid), 10), "and in the guest they end")
    same([x["exit_code"] for x in local_lines if x["type"] == "exit"], [4], "where no token is needed nothing is cut")
    tap.ok(alive(kept_pid), "another token's command lives")
    for conn in (one, loud, local):
        conn.close()
    for bad in (b"", b"x" * 31, digest("kept") + b"x", digest("kepT")):
        rig.core.chan.send(CUT, [(T["AUTH"], bad)], ident=0)
    rig.core.chan.send(CUT, [], ident=0)
    same(Api(rig.tcp_address, "kept").call("GET", "/nodes")[0], 200, "cuts of no token cut nothing")
    time.sleep(0.1)
    tap.ok(alive(kept_pid), "the command still runs")
    kept.close()
    tap.ok(wait_for(lambda: not alive(kept_pid), 10), "until its client leaves")


def case_cut_before_the_answer(rig):
    rig.core.scoped = {"cut": SCOPES}
    buffered = begin(rig, "cut", "POST", query(EXEC, cmd="/bin/sh", args=["-c", "exec sleep 1000"], buffered=True))
    waits = begin(rig, "cut", "POST", "/hostgroup/demo/nodes?wait=agent")
    half = Conn(rig.tcp_address, 20)
    half.raw(b"POST /hostgroup/demo/nodes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer cut\r\nContent-Length: 10\r\n\r\n{")
    half.method = "POST"
    rig.core.silent = {CREATE}
    tap.ok(wait_for(lambda: any(m.kind == CREATE for m in rig.core.asked[-4:]) and any(m.kind == CONNECT for m in rig.core.asked[-6:]), 5), "three wait")
    time.sleep(0.2)
    rig.core.cut("cut")
    for conn, what in ((buffered, "a buffered command"), (waits, "a creation"), (half, "a body that is not whole")):
        reply = conn.response()
        same((reply.status, "revoked" in reply.json()["error"]), (401, True), "%s: 401" % what)
        conn.close()
    rig.core.silent = set()
    conn = Conn(rig.tcp_address, 20)
    same(conn.call("GET", "/nodes", {"Authorization": "Bearer cut"}).read()[:1], b"[", "a connection between two requests")
    rig.core.scoped = {}
    rig.core.cut("cut")
    same(conn.call("GET", "/nodes", {"Authorization": "Bearer cut"}).status, 401, "… stays, and its next request is refused")
    conn.close()


def case_cut_streams(rig):
    rig.core.scoped = {"cut": SCOPES}
    auth = {"Authorization": "Bearer cut"}

    shell = Conn(rig.tcp_address, 20)
    ws = WebSocket(shell, "/vm/demo-1/shell?shell=/bin/sh", auth)
    same(ws.reply.status, 101, "a shell")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    tunnel = Conn(rig.tcp_address, 20)
    fw = WebSocket(tunnel, "/vm/demo-1/forward", dict(auth, **{"X-Inlets-Upstream": "127.0.0.1:%d" % listener.getsockname()[1]}))
    same(fw.reply.status, 101, "a forward")
    inside = listener.accept()[0]
    inside.settimeout(20)
    watch = begin(rig, "cut", "GET", query("/vm/demo-1/fs/watch", paths=rig.dir))
    watch_reply = watch.response()
    same(watch_reply.status, 200, "a watch")
    started = json.loads(Api(rig.tcp_address, "cut").call("POST", query(EXEC, cmd="/bin/sh", args=["-c", "echo hi; exec sleep 1000"], background=True))[2])
    follow = begin(rig, "cut", "GET", EXEC + "/%s/logs?follow=true" % started["exec_id"])
    follow_reply = follow.response()
    same(next(follow_reply.lines())["type"], "started", "logs of a command in the background, followed")
    wait = begin(rig, "cut", "GET", EXEC + "/%s/wait-exit?timeout=600" % started["exec_id"])
    big = os.path.join(rig.dir, "big")
    with open(big, "wb") as f:
        f.truncate(1 << 28)
    copy = begin(rig, "cut", "GET", query("/vm/demo-1/cp", path=big, mode="binary"))
    copy_reply = copy.response()
    same(copy_reply.status, 200, "a copy")
    time.sleep(0.2)
    rig.core.cut("cut")
    for name, socket_ in (("shell", ws), ("forward", fw)):
        while True:
            op, data = socket_.recv()
            if op == 8:
                break
        same((int.from_bytes(data[:2], "big"), b"revoked" in data), (1008, True), "the %s's close frame says why" % name)
    same(inside.recv(10), b"", "what was forwarded ends in the guest, too")
    for name, conn, reply in (("watch", watch, watch_reply), ("log", follow, follow_reply), ("copy", copy, copy_reply)):
        tap.ok(ends_broken(conn, reply), "the %s ends without an end of its body" % name)
    same(wait.response().status, 401, "waiting for a command: 401")
    same(rig.api.get(EXEC + "/" + started["exec_id"])["running"], True, "the command in the background is not the token's stream: it goes on")
    rig.api.call("POST", EXEC + "/%s/kill" % started["exec_id"], {"signal": "KILL"})
    for conn in (shell, tunnel, watch, follow, wait, copy):
        conn.close()



def main():
    rig = Rig(sys.argv[1], sys.argv[2])
    rig.api = Api(rig.api_sock)
    for case in [f for name, f in globals().items() if name.startswith("case_")]:
        print("# " + case.__name__, flush=True)
        case(rig)
    same(rig.close(), 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
