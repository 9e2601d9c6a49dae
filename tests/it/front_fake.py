#!/usr/bin/env python3
"""front_fake.py FRONT AGENT [WORD...]: the real front and the real agent with a stand-in for core between them: every exchange of the HTTP
contract that needs no VM, without KVM. TAP on stdout. WORDs choose cases by name. BIG=1: the 1 GiB case in full."""
import base64
import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from agent_wire import EXIT, OK, STARTED, T_CODE, T_PID, frame  # noqa: E402
from client import Api, Broken, Conn, WebSocket, payload, query, wait_for  # noqa: E402
from fakecore import CONNECT, CREATE, DESCRIBE, NODES, SHUTDOWN, T, TAGS, Rig  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()
VM = "demo-1"
EXEC = "/vm/demo-1/exec"
ROOT = os.getuid() == 0


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


def raw(address, data, end=False, timeout_s=10):
    """Everything that comes back for these bytes until the server closes or stops talking."""
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.settimeout(timeout_s)
    s.connect(address)
    try:
        s.sendall(data)
    except OSError:
        pass
    if end:
        s.shutdown(socket.SHUT_WR)
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
    except OSError:
        got += b"(timeout)"
    s.close()
    return got


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def error_of(reply):
    return json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# ---- refusals ----

def case_refused_heads(rig):
    bad = [(b"GET / HTTP/1.1\nHost: a\n\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
           (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
           (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
           (b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
           (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
           (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431),
           (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n", 400)]
    for head, want in bad:
        got = raw(rig.api_sock, head)
        same((status_of(got), b"(timeout)" in got), (want, False), "%r is answered with %d and a close" % (head[:60], want))
        tap.ok(len(error_of(got)) > 5, "… and a sentence")
    got = raw(rig.api_sock, b"POST /hostgroup/demo/nodes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    same(status_of(got), 400, "a bad chunk size is answered with 400")
    got = raw(rig.api_sock, b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nGET /xGET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    same(got.count(b"HTTP/1.1 200"), 2, "a body that looks like a request stays a body")


def case_refused_requests(rig):
    api = rig.api
    for method, path, want in [
            ("GET", "/nope", 404), ("GET", "/nodes/", 404), ("GET", "/vm", 404), ("GET", "/", 404), ("PUT", "/nodes", 405),
            ("DELETE", "/vm/demo-1", 405), ("GET", "/vm/nosuch-1", 404), ("GET", "/vm/" + "a" * 4096, 404),
            ("GET", "/vm/..%2f..%2fetc", 404), ("GET", "/vm/../../etc/passwd", 404), ("GET", "/vm/demo-1%00", 400),
            ("GET", "/vm/%zz", 400), ("GET", "/vm/DEMO-1", 404), ("GET", "/vm/demo-1/logs?lines=x", 400),
            ("POST", EXEC, 400), ("POST", EXEC + "?cmd=", 400), ("POST", EXEC + "?cmd=a&uid=x", 400),
            ("POST", EXEC + "?cmd=a&stdio=hex", 400), ("POST", EXEC + "?cmd=a&buffered=true&stdin=true", 400),
            ("POST", EXEC + "?cmd=a&background=true&stdin=true", 400), ("POST", EXEC + "?cmd=a&background=true&ring_bytes=x", 400),
            ("GET", EXEC + "/ex_00000000", 404), ("GET", EXEC + "/" + "x" * 300, 404), ("GET", EXEC + "/ex_00000000/wait-exit?timeout=601", 400),
            ("GET", "/vm/demo-1/fs/watch", 400), ("GET", "/vm/demo-1/fs/watch?paths=/&debounce=x", 400), ("GET", "/vm/demo-1/cp?path=/x&mode=zip", 400),
            ("GET", "/vm/demo-1/cp?mode=binary", 400), ("POST", "/vm/demo-1/cp?path=/x&mode=cp-v1-recursive", 400),
            ("POST", "/vm/demo-1/cp?path=/x&permissions=9", 400), ("GET", "/vm/demo-1/shell", 426), ("GET", "/vm/demo-1/fs/stat", 400),
            ("POST", "/vm/demo-1/suspend", 501), ("POST", "/vm/commits/x/fork?wait=userdata", 400), ("POST", "/vm/commits/..%2fx/fork", 404), ("DELETE", "/vm/commits/" + "x" * 99, 404), ("POST", "/vm/demo-1/shutdown?action=explode", 400),
            ("GET", "/nodes?tag=a&tag_prefix=b", 400), ("GET", "/hostgroup/nosuch/nodes", 404)]:
        status, headers, body = api.call(method, path)
        good = status == want and headers.get("content-type") == "application/json" and json.loads(body)["error"]
        if not tap.ok(good, "%s %s: %d in JSON" % (method, path[:60], want)):
            print("#", status, headers, body[:300])
        if want == 405:
            tap.ok("GET" in headers.get("allow", ""), "… and says what is allowed: %s" % headers.get("allow"))
    args = "&".join("args=" + "x" * 40 for _ in range(1100))
    same(api.call("POST", EXEC + "?cmd=a&" + args)[0], 400, "1100 arguments: 400")
    for body in (b"{", b"[]", b'"x"', b'{"cpus":"two"}', b'{"cpus":-1}', b'{"tags":[1]}', b'{"a":"\xff"}', b"[" * 5000, b'{"network":[]}',
                 b'{"disk_image":"x"}', b'{"cpus":9}'):
        same(api.call("POST", "/hostgroup/demo/nodes", body)[0], 400, "create with %r: 400" % body[:20])
    same(api.call("POST", "/hostgroup/demo/nodes", b" " * (1 << 20) + b"{}")[0], 413, "a JSON body over 1 MiB: 413")
    same(api.call("POST", "/hostgroup/demo/nodes?timeout=soon", {})[0], 400, "a timeout that is no duration: 400")
    same(api.call("POST", "/hostgroup/demo/nodes?wait=forever", {})[0], 400, "an unknown wait: 400")


def case_auth(rig):
    for token, want in [(None, 401), ("", 401), ("wrong", 401), (rig.token, 200)]:
        status, headers, body = Api(rig.tcp_address, token).call("GET", "/info")
        same(status, want, "token %r over TCP: %d" % (token, want))
        if want == 401:
            tap.ok(json.loads(body)["error"] and headers["content-type"] == "application/json", "… in JSON")
    same(Api(rig.tcp_address).call("GET", "/healthz")[0], 200, "healthz needs no token")
    same(Api(rig.tcp_address).call("HEAD", "/healthz")[2], b"", "HEAD has no body")
    same(Api(rig.tcp_address).call("GET", "/nope")[0], 401, "what exists is said only to those who may ask")
    same(Api(rig.tcp_address).call("POST", "/vm/demo-1/cp?path=/x", b"x" * 100000)[0], 401, "an upload without token is refused before its body")
    same(Api(rig.api_sock, "").call("GET", "/info")[0], 200, "an empty bearer is ignored where auth is off")
    same(Api(rig.api_sock, "wrong").call("GET", "/info")[0], 200, "and so is a wrong one")


# ---- what core knows ----

def case_lists(rig):
    api = rig.api
    same(api.get("/info"), {"version": "0.1.0", "git_commit": "abc", "platform": "linux", "arch": "amd64"}, "info")
    same(api.get("/hostgroup"), [{"name": "demo", "count": 1, "ram_bytes": 4 << 30, "cpus": 2, "arch": "x86_64", "gpu_count": 0,
                                  "persistent": False, "network": {}}], "groups")
    node = {"hostname": VM, "hostgroup": "demo", "ip": "192.168.137.2", "ram_bytes": 1 << 30, "cpus": 1,
            "created_at": "2026-09-01T10:00:00.123456789Z", "arch": "x86_64", "tags": ["job=7", "owner=alex"], "status": "Running",
            "persistent": False}
    same(api.get("/nodes"), [node], "nodes")
    same(api.get("/nodes?tag=nope"), [], "an empty list is []")
    same(api.get("/hostgroup/demo/nodes%3Ftag=owner%253Dalex"), [node], "the escaped question mark of the Go SDK")
    same(api.get("/hostgroup/demo/nodes?tag=job%3D7"), [node], "tag filter")
    got = api.get("/vm/demo-1")
    same({k: got[k] for k in node}, node, "describe has the node's fields")
    same(got["network"], {"mode": "bridge", "policy_source": "vm", "host_group": {"allow": ["0.0.0.0/0"], "drop": []},
                          "override": {"allow": []}, "effective": {"allow": [], "drop": []}}, "network policy")
    same(api.get("/vm/demo-1/tags"), {"hostname": VM, "tags": ["job=7", "owner=alex"]}, "tags")
    same(api.call("PATCH", "/vm/demo-1/tags", {"replace": [], "add": ["x"]})[0], 400, "replace and add: 400")
    api.call("PATCH", "/vm/demo-1/tags", {"add": ["a", "b"], "name": ""})
    asked = rig.core.asked[-1]
    same((asked.kind, asked.all(T["ADD"]), asked.text(T["TAG_NAME"])), (TAGS, ["a", "b"], ""), "tags patch reaches core")
    for lines, want in (("", 20), ("?lines=0", 100), ("?lines=3", 3), ("?lines=1000", 100)):
        got = api.get("/vm/demo-1/logs" + lines)
        same((got["lines"], got["content"]), (want, "".join("line %d\n" % i for i in range(101 - want, 101))), "logs%s" % lines)


def case_lifecycle(rig):
    api = rig.api
    status, _, body = api.call("POST", "/hostgroup/demo/nodes?wait=agent&timeout=2m0s",
                               {"ram_bytes": 1 << 30, "cpus": 1, "tags": ["job=8"], "network": {"allow": []}, "github_user": "x"})
    made = json.loads(body)
    same((status, made["hostname"], made["ip"], made["tags"]), (201, "demo-2", "192.168.137.2/24", ["job=8"]), "create")
    asked = next(m for m in reversed(rig.core.asked) if m.kind == CREATE)
    same((asked.text(T["WAIT"]), asked.num(T["TIMEOUT_MS"]), asked.num(T["NET_SET_ALLOW"]), asked.get(T["NET_SET_DROP"])),
         ("agent", 120000, 1, None), "wait, timeout and policy reach core")
    same(json.loads(api.call("DELETE", "/hostgroup/demo/nodes/demo-2")[2]), {"message": "deleted", "disk_removed": "true", "error": ""}, "delete")
    same(api.call("POST", "/vm/demo-1/pause")[0], 200, "pause")
    for method, path in (("POST", EXEC + "?cmd=a"), ("GET", "/vm/demo-1/cp?path=/x"), ("GET", "/vm/demo-1/fs/stat?path=/")):
        same(api.call(method, path)[0], 409, "while paused: 409 on %s" % path)
    same(api.call("POST", "/vm/demo-1/resume")[0], 200, "resume")
    for path, body, want in (("?action=shutdown", None, "shutdown"), ("", {"action": "shutdown"}, "shutdown"), ("", {}, "reboot"), ("", None, "reboot")):
        api.call("POST", "/vm/demo-1/shutdown" + path, body)
        asked = next(m for m in reversed(rig.core.asked) if m.kind == SHUTDOWN)
        same(asked.text(T["ACTION"]), want, "shutdown%s %r means %s" % (path, body, want))
    rig.core.vms[VM]["status"] = "Running"
    same(api.call("POST", "/daemon/shutdown")[0::2], (202, b""), "daemon shutdown: 202, empty")


def case_agent_facts(rig):
    api = rig.api
    got = api.get("/vm/demo-1/health")
    tap.ok(got["hostname"] == VM and got["agent_uptime"] > 10**6 and got["system_uptime"] > 10**9 and got["agent_version"], "health: %s" % got)
    same(api.call("HEAD", "/vm/demo-1/health")[0::2], (200, b""), "HEAD health")
    rig.core.agent_down = True
    same((api.call("GET", "/vm/demo-1/health")[0], api.call("HEAD", "/vm/demo-1/health")[0]), (503, 503), "no agent: not 2xx")
    tap.ok(api.get("/nodes/stats")[0]["error"], "stats of a VM whose agent is away carry an error")
    rig.core.agent_down = False
    for path in ("/nodes/stats", "/node/demo-1/stats"):
        got = api.get(path)
        tap.ok(len(got) == 1 and got[0]["snapshot"]["totalCpus"] > 0 and got[0]["snapshot"]["totalMemory"] > 2**20 and
               got[0]["error"] == "", "%s is an array with a snapshot" % path)
    same(api.call("GET", "/node/nosuch-1/stats")[0], 404, "stats of an unknown VM")


# ---- exec ----

def case_exec_frames(rig):
    api = rig.api
    frames = api.frames(VM, "/bin/sh", ["-c", "echo hi; echo no >&2; exit 3"], stdio="base64", uid=0, gid=0)
    kinds = [f["type"] for f in frames]
    tap.ok(kinds[0] == "started" and kinds[-1] == "exit" and sorted(kinds[1:-1]) == ["stderr", "stdout"], "frames: %s" % kinds)
    tap.ok(frames[0]["pid"] > 0 and frames[0]["started_at"].endswith("Z") and all("exit_code" in f and f["timestamp"] for f in frames), "fields")
    out = next(f for f in frames if f["type"] == "stdout")
    same((out["stdout"], out["encoding"], out["exit_code"]), ("aGkK", "base64", 0), "stdout frame as in the contract")
    same((frames[-1]["exit_code"], frames[-1]["signal"], frames[-1]["pid"]), (3, "", frames[0]["pid"]), "exit frame")
    tap.ok("ended_at" in frames[-1] and not any(f["exit_code"] for f in frames[:-1]), "only the last frame has a code")
    text = api.frames(VM, "printf", ["a\\n\\001\\377z"])
    out = next(f for f in text if f["type"] == "stdout")
    same((out["stdout"], "encoding" in out), ("a\n\x01\ufffdz", False), "text mode is valid UTF-8")
    same(api.run(VM, "sh", ["-c", "kill -9 $$"])[0], 137, "a signal is 128+n")
    same(api.frames(VM, "sh", ["-c", "kill -TERM $$"])[-1]["signal"], "TERM", "and has its name")
    frames = api.frames(VM, "/no/such/command")
    tap.ok(len(frames) == 1 and frames[0]["exit_code"] == 127 and frames[0]["error"] and frames[0]["type"] == "exit", "not found: %s" % frames)
    frames = api.frames(VM, "/etc/hostname")
    tap.ok(frames[-1]["exit_code"] == 126 and frames[-1]["error"], "not executable: %s" % frames)
    same(api.sh(VM, 'echo "$A-$B"; pwd', env=["A=1", "B=two words"], cwd="/tmp")[1], b"1-two words\n/tmp\n", "env and cwd")
    same(api.run(VM, "echo $((1+1)); true", ["a b"], shell="/bin/sh")[1], b"2\n", "shell")
    if ROOT:
        same(api.run(VM, "id", ["-u"])[1], b"1000\n", "absent uid: the default user")
        same(api.run(VM, "id", ["-u"], uid=0)[1], b"0\n", "uid 0 is root")
        same(api.run(VM, "id", ["-u"], uid=4294967295)[1], b"1000\n", "the SDK's 'no user' is no user")
    tap.ok(api.call("POST", query(EXEC, cmd="true", cwd="../x"))[0] in (200, 400), "'..' in cwd is refused by the agent")


def case_exec_split_text(rig):
    """A character in two writes must arrive whole."""
    script = "printf 'a\\303'; sleep 0.2; printf '\\244b\\360\\237'; sleep 0.2; printf '\\230\\200\\n'; printf '\\303'"
    frames = rig.api.frames(VM, "sh", ["-c", script])
    same("".join(f.get("stdout", "") for f in frames), "a\u00e4b\U0001F600\n\ufffd", "split characters are joined; a broken one is replaced")


def case_exec_buffered(rig):
    api = rig.api
    status, headers, body = api.call("POST", query(EXEC, cmd="sh", args=["-c", "printf 'out\\n'; echo err >&2; exit 5"], buffered=True))
    got = json.loads(body)
    same((status, got["stdout"], got["stderr"], got["exit_code"], "encoding" in got), (200, "out\n", "err\n", 5, False), "buffered: 200 with the code")
    got = json.loads(api.call("POST", query(EXEC, cmd="printf", args=["\\000\\001\\002"], buffered=True, stdio="base64"))[2])
    same((got["stdout"], got["encoding"], got["exit_code"]), ("AAEC", "base64", 0), "buffered base64")
    got = json.loads(api.call("POST", query(EXEC, cmd="/no/such", buffered=True))[2])
    tap.ok(got["exit_code"] == 127 and got["error"], "buffered, not found")
    got = json.loads(api.call("POST", query(EXEC, cmd="head", args=["-c", "20000000", "/dev/zero"], buffered=True, stdio="base64"))[2])
    same(len(base64.b64decode(got["stdout"])), 20000000, "20 MB buffered")


def case_exec_stdin(rig):
    """Frames flow while the body is still arriving."""
    with rig.api.conn() as conn:
        conn.start("POST", query(EXEC, cmd="cat", stdin=True, stdio="base64"), chunked=True)
        conn.chunk(b"one\n")
        reply = conn.response()
        frames = reply.lines()
        same(next(frames)["type"], "started", "the answer begins while the request goes on")
        same(payload(next(frames)), b"one\n", "echo of the first piece")
        conn.chunk(b"two\n")
        same(payload(next(frames)), b"two\n", "echo of the second")
        conn.last_chunk()
        same(list(frames)[-1]["exit_code"], 0, "end of the body is end of stdin")
        same(conn.call("GET", "/info").status, 200, "the connection goes on")
    same(rig.api.run(VM, "cat", stdin=b"abc")[1], b"abc", "stdin with a length")
    same(rig.api.run(VM, "wc", ["-c"], stdin=b"x" * 5000000)[1].strip(), b"5000000", "5 MB of stdin")
    same(rig.api.run(VM, "true", stdin=b"x" * 3000000)[0], 0, "a command that never reads its stdin")


def case_exec_expect(rig):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(rig.api_sock)
    s.sendall(b"POST " + EXEC.encode() + b"?cmd=cat&stdin=true HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    got = s.recv(1000)
    tap.ok(got.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"), "100 Continue before the body")
    s.sendall(b"abc")
    while b'"exit"' not in got:
        got += s.recv(1000)
    tap.ok(b'"stdout":"abc"' in got, "and the body arrives")
    s.close()


def case_exec_disconnect(rig):
    with rig.api.conn() as conn:
        conn.start("POST", query(EXEC, cmd="sh", args=["-c", "echo $$; exec sleep 1000"], stdio="base64"))
        frames = conn.response().lines()
        pid = next(frames)["pid"]
        tap.ok(alive(pid), "the command runs")
    tap.ok(wait_for(lambda: not alive(pid), 5), "a client that goes away kills it")
    with rig.api.conn() as conn:
        conn.start("POST", query(EXEC, cmd="yes", stdio="base64"))
        pid = next(conn.response().lines())["pid"]
    tap.ok(wait_for(lambda: not alive(pid), 5), "also in the middle of a flood")
    with rig.api.conn() as conn:
        conn.start("POST", query(EXEC, cmd="sleep", args=["1000"], stdin=True), chunked=True)
        conn.sock.setblocking(False)
        try:
            while True:
                conn.chunk(b"x" * 65536)
        except OSError:
            conn.sock.setblocking(True)
        time.sleep(0.3)
        pids = subprocess.run(["pgrep", "-x", "-n", "sleep"], capture_output=True, text=True).stdout.split()
    tap.ok(pids and wait_for(lambda: not alive(int(pids[0])), 5), "also with its stdin stuffed")


def case_exec_lost_agent(rig):
    """An agent that dies is an error and never an exit code of 0."""
    rig2 = Rig(sys.argv[1], sys.argv[2])
    try:
        api = Api(rig2.api_sock)
        with api.conn() as conn:
            conn.start("POST", query(EXEC, cmd="sleep", args=["3"]))
            frames = conn.response().lines()
            next(frames)
            rig2.agent.kill()
            last = list(frames)[-1]
            tap.ok(last["type"] == "exit" and last["exit_code"] != 0 and "lost" in last["error"], "last frame: %s" % last)
        tap.ok(api.call("POST", query(EXEC, cmd="true"))[0] in (502, 503), "then no exec at all")
    except (OSError, Broken):
        traceback.print_exc()
        tap.ok(False, "lost agent")
    finally:
        rig2.close()


def case_exec_odd_exit(rig):
    """A guest that gives no exit code, or none that can be one: an error, whatever the number looks like cut to a byte."""
    for code, call in [(code, call) for code in ([], [(T_CODE, 256)], [(T_CODE, (1 << 64) - 1)])
                       for call in (("POST", query(EXEC, cmd="true")), ("GET", EXEC + "/ex_00000001/logs"))]:
        agent, stream = socket.socketpair()
        connect, rig.core.connect = rig.core.connect, lambda: stream.detach()

        def guest():
            agent.recv(4096)
            agent.sendall(frame(STARTED, [(T_PID, 7)]) + frame(EXIT, code) + frame(OK))
        threading.Thread(target=guest, daemon=True).start()
        try:
            with rig.api.conn(10) as conn:
                conn.start(*call)
                last = list(conn.response().lines())[-1]
        finally:
            rig.core.connect = connect
            agent.close()
        tap.ok(last["type"] == "exit" and 0 < last["exit_code"] < 256 and last.get("error"), "%s %s: %s" % (call[0], code, last))


def case_exec_gigabyte(rig):
    size = (1 << 30) if os.environ.get("BIG") else (64 << 20)
    start, digest, count, peak = time.monotonic(), hashlib.sha256(), 0, 0
    with rig.api.conn() as conn:
        conn.start("POST", query(EXEC, cmd="sh", args=["-c", "openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c %d" % size],
                                 stdio="base64"))
        for frame in conn.response().lines():
            if "stdout" in frame:
                data = base64.b64decode(frame["stdout"])
                digest.update(data)
                count += len(data)
                if frame["exit_code"] or count % (1 << 26) < 40000:
                    peak = max(peak, rss_kib(rig.front.pid))
    took = time.monotonic() - start
    want = subprocess.run("openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c %d | sha256sum" % size,
                          shell=True, capture_output=True, text=True).stdout.split()[0]
    same((count, digest.hexdigest(), frame["exit_code"]), (size, want, 0), "%d MiB through exec, hash equal, %.1f s" % (size >> 20, took))
    tap.ok(peak < 16384, "front's memory meanwhile: %d KiB" % peak)


def case_slow_reader(rig):
    """A client that does not read stops the command, not the memory; others are served meanwhile."""
    before = rss_kib(rig.front.pid)
    slow = []
    for _ in range(4):
        conn = rig.api.conn()
        conn.start("POST", query(EXEC, cmd="yes", stdio="base64"))
        slow.append(conn)
    time.sleep(1.0)
    start = time.monotonic()
    same(rig.api.sh(VM, "echo fast")[1], b"fast\n", "others are served")
    tap.ok(time.monotonic() - start < 1, "quickly")
    grown = rss_kib(rig.front.pid) - before
    tap.ok(grown < 4096, "4 clients that do not read cost %d KiB" % grown)
    for conn in slow:
        conn.close()


def case_idle_connections(rig):
    """Idle connections are cheap."""
    time.sleep(2.5)  # what earlier cases used is given back
    before = rss_kib(rig.front.pid)
    conns = [rig.api.conn() for _ in range(400)]
    for conn in conns:
        conn.call("GET", "/healthz").read()
    time.sleep(2.5)  # the sweep gives buffers back
    per = (rss_kib(rig.front.pid) - before) / len(conns)
    tap.ok(per < 16, "an idle connection costs %.1f KiB" % per)
    for conn in conns:
        conn.close()


def case_many_exec(rig):
    """Many streams at once through one front."""
    conns = []
    for _ in range(100):
        conn = rig.api.conn()
        conn.start("POST", query(EXEC, cmd="cat", stdin=True), chunked=True)
        conns.append(conn)
    good = 0
    streams = [conn.response().lines() for conn in conns]
    for conn, frames in zip(conns, streams):
        good += next(frames)["type"] == "started"
    for i, conn in enumerate(conns):
        conn.chunk(b"%d" % i)
        conn.last_chunk()
    for i, frames in enumerate(streams):
        rest = list(frames)
        good += rest[-1]["exit_code"] == 0 and "".join(f.get("stdout", "") for f in rest) == str(i)
    same(good, 200, "100 full-duplex streams at once")
    for conn in conns:
        conn.close()


# ---- in the background ----

def bg_start(rig, cmd, *args, **params):
    status, _, body = rig.api.call("POST", query(EXEC, cmd=cmd, args=args, background=True, stdio="base64", uid=0, **params))
    got = json.loads(body)
    same(status, 201, "background %s: 201" % cmd)
    return got


def bg_lines(rig, exec_id, **params):
    status, headers, body = rig.api.call("GET", query("%s/%s/logs" % (EXEC, exec_id), **params))
    same((status, headers["content-type"]), (200, "application/x-ndjson"), "logs")
    return [json.loads(line) for line in body.split(b"\n") if line]


def case_background(rig):
    api = rig.api
    made = bg_start(rig, "sh", "-c", "echo one; echo two >&2; sleep 0.5; echo three; exit 4")
    tap.ok(made["exec_id"].startswith("ex_") and made["pid"] > 0 and made["started_at"].endswith("Z") and made["ring_bytes"] == 1 << 20, "%s" % made)
    url = EXEC + "/" + made["exec_id"]
    info = api.get(url)
    same((info["command"], info["args"][0], info["running"], info["uid"]), ("sh", "-c", True, 0), "info while it runs")
    tap.ok("exit_code" not in info, "no exit code yet")
    got = api.get(url + "/wait-exit?timeout=10")
    same((got["running"], got["exit_code"], got["timed_out"]), (False, 4, False), "wait-exit")
    lines = bg_lines(rig, made["exec_id"])
    text = b"".join(base64.b64decode(line.get("stdout", "")) + base64.b64decode(line.get("stderr", "")) for line in lines)
    same((text, lines[0]["type"], lines[-1]["type"], lines[-1]["exit_code"]), (b"one\ntwo\nthree\n", "started", "exit", 4), "replay")
    ids = [line["id"] for line in lines]
    same(ids, list(range(ids[0], ids[0] + len(ids))), "ids without a gap")
    same([line["id"] for line in bg_lines(rig, made["exec_id"], from_id=ids[2])], ids[2:], "replay from an id")
    tap.ok(any(line.get("stdout") == "three\n" for line in bg_lines(rig, made["exec_id"], stdio="text")), "and as text")
    tap.ok(made["exec_id"] in [e["exec_id"] for e in api.get(EXEC)], "list")
    same(json.loads(api.call("DELETE", url)[2]), {"exec_id": made["exec_id"], "reaped": True}, "reap")
    same([api.call(m, url + p)[0] for m, p in (("GET", ""), ("GET", "/logs"), ("POST", "/kill"), ("GET", "/wait-exit"), ("DELETE", ""))], [410] * 5,
         "then 410")
    status, _, body = api.call("POST", query(EXEC, cmd="/no/such", background=True))
    tap.ok(status == 400 and b"127" in body, "a command that is not there: %r" % body)


def case_background_kill(rig):
    api = rig.api
    made = bg_start(rig, "sleep", "1000")
    url = EXEC + "/" + made["exec_id"]
    same(api.call("DELETE", url)[0], 409, "reap while it runs: 409")
    got = api.get(url + "/wait-exit?timeout=0")
    same((got["running"], got["timed_out"]), (True, True), "wait-exit that times out")
    got = json.loads(api.call("POST", url + "/kill", {"signal": "TERM", "grace_ms": 5000})[2])
    tap.ok(got["exec_id"] == made["exec_id"] and "TERM" in got["signal_sent"], "kill: %s" % got)
    got = api.get(url + "/wait-exit?timeout=10")
    same((got["exit_code"], got["signal"]), (143, "TERM"), "ended by it")
    same(json.loads(api.call("POST", url + "/kill")[2])["running"], False, "a second kill does nothing")
    same(api.call("POST", url + "/kill", {"signal": 9})[0], 400, "a signal that is a number: 400")
    api.call("DELETE", url)


def case_background_follow(rig):
    """History, then live, at the reader's speed; what was evicted is said."""
    made = bg_start(rig, "sh", "-c", "head -c 3000000 /dev/zero; sleep 1; echo end", ring_bytes=65536)
    url = EXEC + "/" + made["exec_id"]
    time.sleep(0.7)
    with rig.api.conn() as conn:
        conn.start("GET", url + "/logs?follow=true&from_id=1")
        lines = list(conn.response().lines())
    kinds = [line["type"] for line in lines]
    tap.ok("gap" in kinds and kinds[-1] == "exit", "a gap, then what is there, then the end: %s…" % kinds[:3])
    gap = lines[kinds.index("gap")]
    tap.ok(gap["dropped_bytes"] > 2000000 and gap["dropped_frames"] > 0 and gap["exit_code"] == 0, "the gap says how much: %s" % gap)
    same(base64.b64decode(lines[-2]["stdout"]), b"end\n", "live output came")
    rig.api.call("DELETE", url)


def case_watch(rig):
    d = rig.dir + "/watched"
    os.makedirs(d, exist_ok=True)
    with rig.api.conn(10) as conn:
        conn.start("GET", query("/vm/demo-1/fs/watch", paths=[d], events=["create", "write"], max_events=1))
        reply = conn.response()
        if reply.status == 501:
            tap.skip("fs/watch", "the agent does not watch yet")
            return
        same((reply.status, reply.headers["content-type"]), (200, "text/event-stream"), "watch")
        with open(d + "/new", "w") as f:
            f.write("x")
        text = reply.read().decode()
    event = next(block for block in text.split("\n\n") if block.startswith("id:")).split("\n")
    got = json.loads(event[2][6:])
    same((event[0], event[1], got["type"], got["path"], got["isDir"]), ("id: 1", "event: watch", "create", d + "/new", False), "an event")
    same(rig.api.call("GET", query("/vm/demo-1/fs/watch", paths=[d]), headers={"Last-Event-ID": "x"})[0], 400, "a bad Last-Event-ID")


# ---- copies ----

def case_cp(rig):
    api, d = rig.api, rig.dir
    blob = os.urandom(3000000)
    os.chmod(d, 0o777)
    same(api.upload(VM, d + "/blob", blob, permissions="0640")[0], 200, "upload")
    with open(d + "/blob", "rb") as f:
        tap.ok(f.read() == blob, "the file is there")
    same(oct(os.stat(d + "/blob").st_mode & 0o7777), "0o640", "with its permissions")
    status, headers, body = api.download(VM, d + "/blob")
    same((status, body == blob, headers["content-type"], headers["x-slicer-file-mode"]), (200, True, "application/octet-stream", "0640"), "download")
    tap.ok("x-slicer-source-type" not in headers, "no cp-v1 fields in legacy mode")
    same(api.download(VM, d + "/nope")[0], 404, "download of what is not there: 404")
    status, _, body = api.download(VM, d)
    tap.ok(status == 400 and b"must specify a file not a directory" in body, "binary of a folder: %r" % body)
    status, _, body = api.call("GET", query("/vm/demo-1/cp", path=d, mode="cp-v9"))
    tap.ok(status == 400 and b"invalid mode: cp-v9" in body, "an unknown mode says so as old servers do")
    status, body = api.upload(VM, "/proc/nope/x", b"data")
    tap.ok(status >= 400, "an upload that cannot be: %d %r" % (status, body))
    with api.conn() as conn:
        conn.start("POST", query("/vm/demo-1/cp", path=d + "/chunked"), chunked=True)
        conn.chunk(b"ab")
        conn.chunk(b"cd")
        conn.last_chunk()
        reply = conn.response()
        same((reply.status, reply.json()), (200, {"size": 4}), "chunked upload")


def case_cp_tar(rig):
    api, d = rig.api, rig.dir
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (("a.txt", b"alpha"), ("sub/b.txt", b"beta")):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    same(api.upload(VM, d + "/tree", out.getvalue(), mode="tar")[0], 200, "tar upload")
    with open(d + "/tree/sub/b.txt", "rb") as f:
        same(f.read(), b"beta", "a file of it")
    status, headers, body = api.download(VM, d + "/tree", mode="tar", exclude="*.skip")
    same((status, headers["content-type"]), (200, "application/x-tar"), "tar download")
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        names = sorted(tar.getnames())
    same((body[257:262], names), (b"ustar", ["a.txt", "sub", "sub/b.txt"]), "ustar with clean names")


def case_cp_v1(rig):
    api, d = rig.api, rig.dir
    os.makedirs(d + "/dest", exist_ok=True)
    os.chmod(d + "/dest", 0o777)
    v1 = dict(copy_semantics="cp-v1")
    same(api.upload(VM, d + "/dest/", b"hello", mode="cp-v1-binary", source_name="a.txt", source_type="file", **v1)[0], 200, "cp-v1 upload into a folder")
    with open(d + "/dest/a.txt", "rb") as f:
        same(f.read(), b"hello", "lands under the source's name")
    status, headers, body = api.download(VM, d + "/dest/a.txt", mode="cp-v1-binary", **v1)
    name = base64.urlsafe_b64decode(headers["x-slicer-source-name-base64"] + "==")
    same((status, body, headers["x-slicer-source-type"], name, len(headers["x-slicer-file-mode"])), (200, b"hello", "file", b"a.txt", 4), "cp-v1 binary")
    status, headers, body = api.download(VM, d + "/dest", mode="cp-v1-recursive", **v1)
    same((status, headers["content-type"], headers["x-slicer-source-type"], headers["x-slicer-source-name-base64"]),
         (200, "application/x-tar", "directory", base64.urlsafe_b64encode(b"dest").rstrip(b"=").decode()), "cp-v1 recursive of a folder")
    status, headers, body = api.download(VM, d + "/dest/a.txt", mode="cp-v1-recursive", **v1)
    same((status, headers["content-type"], headers["x-slicer-source-type"], body), (200, "application/octet-stream", "file", b"hello"), "… of a file")


def case_cp_broken(rig):
    """A client that leaves in the middle leaves no half file; a big copy does not grow front."""
    api, d = rig.api, rig.dir
    with api.conn() as conn:
        conn.start("POST", query("/vm/demo-1/cp", path=d + "/half"), chunked=True)
        conn.chunk(b"x" * 100000)
        time.sleep(0.3)
    time.sleep(0.5)
    tap.ok(not os.path.exists(d + "/half"), "no half file under its name")
    with open(d + "/big", "wb") as f:
        f.truncate(200 << 20)
    before = rss_kib(rig.front.pid)
    with api.conn() as conn:
        conn.start("GET", query("/vm/demo-1/cp", path=d + "/big"))
        reply = conn.response()
        time.sleep(0.5)
        grown = rss_kib(rig.front.pid) - before
        same(sum(len(p) for p in reply.pieces()), 200 << 20, "200 MiB out")
    tap.ok(grown < 2048, "while the client waited front grew by %d KiB" % grown)


def case_fs(rig):
    api, d = rig.api, rig.dir
    same(api.call("POST", "/vm/demo-1/fs/mkdir", {"path": d + "/fs/a", "recursive": True, "mode": "0750"})[0], 200, "mkdir")
    got = api.get(query("/vm/demo-1/fs/stat", path=d + "/fs/a"))
    same((got["name"], got["type"], got["mode"], got["mtime"][-1]), ("a", "directory", "0750", "Z"), "stat")
    with open(d + "/fs/file", "w") as f:
        f.write("1234567")
    got = api.get(query("/vm/demo-1/fs/readdir", path=d + "/fs"))
    same(sorted((e["name"], e["type"]) for e in got), [("a", "directory"), ("file", "file")], "readdir")
    same(next(e["size"] for e in got if e["name"] == "file"), 7, "with sizes")
    same(api.call("GET", query("/vm/demo-1/fs/stat", path=d + "/nope"))[0], 404, "stat of nothing: 404")
    tap.ok(api.call("DELETE", query("/vm/demo-1/fs/remove", path=d + "/fs"))[0] >= 400, "remove of a full folder is refused")
    same(api.call("DELETE", query("/vm/demo-1/fs/remove", path=d + "/fs", recursive=True))[0], 200, "recursive remove")
    tap.ok(not os.path.exists(d + "/fs"), "it is gone")
    same(api.call("POST", "/vm/demo-1/fs/mkdir", {"mode": "0750"})[0], 400, "mkdir without a path")
    same(api.call("POST", "/vm/demo-1/fs/mkdir", {"path": "/x", "mode": "rwx"})[0], 400, "mkdir with an odd mode")


# ---- WebSocket ----

def shell_frames(ws, until, limit_s=10):
    """Data of the shell until the text comes, or the close."""
    seen, end = b"", time.monotonic() + limit_s
    while until not in seen and time.monotonic() < end:
        op, data = ws.recv()
        if op == 8:
            return seen, ("close", struct.unpack(">H", data[:2])[0])
        if op == 2 and data[0] == 1:
            if len(data) > 32768 or struct.unpack(">I", data[1:5])[0] != len(data) - 5:
                raise Broken("bad shell frame")
            seen += data[5:]
        if op == 2 and data[0] == 5:
            seen += b"<05>"
    return seen, None


def case_shell(rig):
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, query("/vm/demo-1/shell", uid=0, shell="/bin/sh", cwd="/tmp"))
        same(ws.reply.status, 101, "shell opens")
        ws.send(b"\x02" + struct.pack(">III", 8, 100, 30))
        ws.send(b"\x04" + struct.pack(">I", 0))
        line = b"stty size; pwd; echo do''ne\r"
        ws.send(b"\x01" + struct.pack(">I", len(line)) + line)
        seen, _ = shell_frames(ws, b"done")
        tap.ok(b"30 100" in seen and b"/tmp" in seen, "window size and cwd: %r" % seen[-120:])
        ws.send(b"text is passed over", opcode=1)
        ws.send(b"hey", opcode=9)
        op, data = ws.recv()
        while op != 10:
            op, data = ws.recv()
        same(data, b"hey", "ping is answered")
        line = b"head -c 300000 /dev/zero | tr '\\0' x; echo; echo e''nd\r"
        ws.send(b"\x01" + struct.pack(">I", len(line)) + line)
        seen, _ = shell_frames(ws, b"end")
        same(seen.count(b"x") >= 300000, True, "300 kB in messages of at most 32 KiB")
        ws.send(b"\x01" + struct.pack(">I", 5) + b"exit\r")
        seen, closed = shell_frames(ws, b"never")
        same((b"<05>" in seen, closed), (True, ("close", 1000)), "exit: frame 05, then close 1000")


def case_shell_refusals(rig):
    for data, opcode, code in ((b"\x01" + struct.pack(">I", 99) + b"short", 2, 1002), (b"x" * 126, 9, 1002)):
        with rig.api.conn(10) as conn:
            ws = WebSocket(conn, query("/vm/demo-1/shell", shell="/bin/sh"))
            ws.send(data, opcode=opcode)
            seen, closed = shell_frames(ws, b"never")
            same(closed, ("close", code), "%r with opcode %d closes with %d" % (data[:8], opcode, code))
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, query("/vm/demo-1/shell", shell="/bin/sh"))
        ws.send(b"\x01" + struct.pack(">I", 8) + b"echo $$\r")
        ws.send(b"\x03" + struct.pack(">I", 0))
        seen, closed = shell_frames(ws, b"never")
        same(closed, ("close", 1000), "shutdown frame closes with 1000")
    with rig.api.conn(10) as conn:
        same(WebSocket(conn, "/vm/nosuch-1/shell").reply.status, 404, "shell of an unknown VM")
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, query("/vm/demo-1/shell", shell="/no/such/shell"))
        tap.ok(ws.reply.status >= 400, "a shell that is not there: %d" % ws.reply.status)


def case_shell_disconnect(rig):
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, query("/vm/demo-1/shell", shell="/bin/sh"))
        line = b"echo pid=$$=\r"
        ws.send(b"\x01" + struct.pack(">I", len(line)) + line)
        seen = b""
        while seen.count(b"=") < 4:
            seen += shell_frames(ws, b"=")[0]
        pid = int([p for p in seen.split(b"=") if p.isdigit()][0])
        tap.ok(alive(pid), "the shell runs")
    tap.ok(wait_for(lambda: not alive(pid), 5), "and ends with its client")


def case_forward(rig):
    echo = socket.socket()
    echo.bind(("127.0.0.1", 0))
    echo.listen(5)

    def serve():
        while True:
            try:
                s, _ = echo.accept()
            except OSError:
                return
            with s:
                while True:
                    data = s.recv(65536)
                    if not data or data == b"bye":
                        break
                    s.sendall(data)
    threading.Thread(target=serve, daemon=True).start()
    headers = {"X-Inlets-Client-ID": "h", "X-Inlets-Mode": "local", "X-Inlets-Upstream": "127.0.0.1:%d" % echo.getsockname()[1]}
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, "/vm/demo-1/forward", headers)
        same(ws.reply.status, 101, "forward opens")
        blob, got = os.urandom(1000000), b""
        sender = threading.Thread(target=ws.send, args=(blob,))
        sender.start()
        while len(got) < len(blob):
            op, data = ws.recv()
            got += data
        sender.join()
        same(got == blob, True, "1 MB there and back in one message")
        ws.send(b"bye")
        same(ws.recv()[0], 8, "the far end's close closes")
    echo.close()
    headers["X-Inlets-Upstream"] = "127.0.0.1:1"
    with rig.api.conn(20) as conn:
        same(WebSocket(conn, "/vm/demo-1/forward", headers).reply.status, 502, "nobody listens: the upgrade is refused")
    with rig.api.conn(10) as conn:
        same(WebSocket(conn, "/vm/demo-1/forward").reply.status, 400, "no upstream named: 400")
    headers["X-Inlets-Upstream"] = "unix:" + rig.agent_sock
    with rig.api.conn(10) as conn:
        ws = WebSocket(conn, "/vm/demo-1/forward", headers)
        same(ws.reply.status, 101, "forward to a unix socket")
        ws.send(b"text", opcode=1)
        op, data = ws.recv()
        same((op, struct.unpack(">H", data[:2])[0]), (8, 1003), "a text message closes a forward with 1003")


def case_forward_tail(rig):
    """What a client sent before it closed arrives, however slow the far end reads."""
    agent, stream = socket.socketpair()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connect, rig.core.connect = rig.core.connect, lambda: stream.detach()
    try:
        with rig.api.conn(10) as conn:
            def far_end():
                agent.recv(4096)
                agent.sendall(struct.pack("<IHHI", 0, 2, 0, 1))
            threading.Thread(target=far_end, daemon=True).start()
            ws = WebSocket(conn, "/vm/demo-1/forward", {"X-Inlets-Upstream": "127.0.0.1:1"})
            ws.send(b"x" * 60000)
            ws.send(struct.pack(">H", 1000), opcode=8)
            same(ws.recv()[0], 8, "a close is answered with a close")
        time.sleep(0.2)
        agent.settimeout(10)
        got = 0
        while data := agent.recv(1000):
            got += len(data)
        same(got, 60000, "all that was sent before the close arrives, then the end")
    finally:
        rig.core.connect = connect
        agent.close()


def children(pid):
    return open("/proc/%d/task/%d/children" % (pid, pid)).read().split()


def case_forward_leaves(rig):
    """A far end that keeps its side open does not keep the agent's process when the client has gone."""
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(1)
    before = len(children(rig.agent.pid))
    with rig.api.conn(10) as conn:
        WebSocket(conn, "/vm/demo-1/forward", {"X-Inlets-Upstream": "127.0.0.1:%d" % deaf.getsockname()[1]})
        far, _ = deaf.accept()
        same(len(children(rig.agent.pid)), before + 1, "a forward is a process")
    tap.ok(wait_for(lambda: len(children(rig.agent.pid)) == before, 5), "it ends with its client")
    far.close()


def case_left_early(rig):
    """A client that leaves while core is asked starts nothing."""
    ours, theirs = socket.socketpair()
    connect, rig.core.connect, rig.core.hold = rig.core.connect, lambda: theirs.detach(), threading.Event()
    try:
        asked = len(rig.core.asked)
        with rig.api.conn(10) as conn:
            conn.start("POST", query(EXEC, cmd="true"))
            wait_for(lambda: len(rig.core.asked) > asked, 5)
        time.sleep(0.2)
        rig.core.hold.set()
        ours.settimeout(5)
        same(ours.recv(1000), b"", "the agent hears of no command")
    finally:
        rig.core.hold.set()
        rig.core.connect, rig.core.hold = connect, None
        ours.close()
    same(rig.api.call("POST", query(EXEC, cmd="true", buffered=True))[0], 200, "the next command runs")


def case_hung_vm(rig):
    """Core, or the VM's process behind it, that never answers: an error in time, not a client that waits for ever."""
    rig.core.silent = {CONNECT, DESCRIBE, NODES}
    results = {}

    def ask(name, *call):
        try:
            results[name] = Api(rig.api_sock).call(*call)[0]
        except (OSError, Broken) as why:
            results[name] = why
    asks = [("exec", "POST", query(EXEC, cmd="true")), ("cp", "GET", query("/vm/demo-1/cp", path="/etc/hostname")), ("describe", "GET", "/vm/demo-1"),
            ("nodes", "GET", "/nodes")]
    threads = [threading.Thread(target=ask, args=a, daemon=True) for a in asks]
    for t in threads:
        t.start()
    for t in threads:
        t.join(25)
    rig.core.silent = set()
    same(results, {"exec": 503, "cp": 503, "describe": 503, "nodes": 503}, "503 for each")


# ---- what front is left with ----

def case_walls(rig):
    """No user, no capability, no file, no network of its own, and a filter on system calls."""
    rig.api.get("/info")
    with open("/proc/%d/status" % rig.front.pid) as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    same((status["CapPrm"], status["CapEff"], status["NoNewPrivs"], status["Seccomp"]), ("0" * 16, "0" * 16, "1", "2"),
         "no capabilities, no new ones, a filter")
    if ROOT:
        same(status["Uid"].split(), ["1835597825"] * 4, "a user of its own")
        same(os.listdir("/proc/%d/root/" % rig.front.pid), [], "an empty root")
        tap.ok(os.readlink("/proc/%d/ns/net" % rig.front.pid) != os.readlink("/proc/self/ns/net"), "no network of the host's")


def case_refused_arguments(rig):
    for args in (["--uid"], ["--uid", "x", "--gid", "1"], ["--nope", "1"]):
        got = subprocess.run([sys.argv[1], *args], capture_output=True, timeout=10)
        tap.ok(got.returncode == 2 and b"usage" in got.stderr, "front %s: usage" % " ".join(args))
    got = subprocess.run([sys.argv[1]], capture_output=True, timeout=10, stdin=subprocess.DEVNULL)
    tap.ok(got.returncode == 1 and b"error: front" in got.stderr, "without a channel: a sentence and 1")


# ---- connections ----

def case_connections(rig):
    with rig.api.conn() as conn:
        same([conn.call("GET", "/info").json()["version"] for _ in range(3)], ["0.1.0"] * 3, "keep-alive")
    one = b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n"
    got = raw(rig.api_sock, one * 20 + b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    same(got.count(b"HTTP/1.1 200 OK"), 21, "21 pipelined requests, answered in order, then closed")
    got = raw(rig.api_sock, b"GET /info HTTP/1.0\r\n\r\n")
    tap.ok(b"200 OK" in got and b"Connection: close" in got, "HTTP/1.0 is answered and closed")
    got = raw(rig.api_sock, one, end=True)
    tap.ok(b"200 OK" in got and b"(timeout)" not in got, "a client that half-closes still gets its answer")
    s = socket.socket(socket.AF_UNIX)
    s.connect(rig.api_sock)
    for byte in one:
        s.sendall(bytes([byte]))
    tap.ok(b"200 OK" in s.recv(1000), "a head byte by byte")
    s.close()
    status = subprocess.run(["curl", "-sS", "--unix-socket", rig.api_sock, "-T", "-", "-X", "POST", "-w", "%{http_code}", "-o", rig.dir + "/curl.out",
                             "http://unix" + EXEC + "?cmd=cat&stdin=true"], input=b"from curl\n", capture_output=True)
    with open(rig.dir + "/curl.out") as f:
        out = f.read()
    tap.ok(status.stdout == b"200" and "from curl" in out, "curl with an upload from a pipe: %s %s" % (status.stdout, status.stderr))
    status = subprocess.run(["curl", "-sS", "-H", "Authorization: Bearer " + rig.token, "http://%s:%d/vm/demo-1/health" % rig.tcp_address],
                            capture_output=True)
    tap.ok(b"agent_uptime" in status.stdout, "curl over TCP with the token")


def main():
    words = sys.argv[3:]
    rig = Rig(sys.argv[1], sys.argv[2])
    rig.api = Api(rig.api_sock)
    cases = [f for name, f in globals().items() if name.startswith("case_")]
    for case in cases:
        if words and not any(word in case.__name__ for word in words):
            continue
        print("# " + case.__name__, flush=True)
        try:
            case(rig)
        except Exception:
            for line in traceback.format_exc(limit=6).splitlines():
                print("# " + line)
            tap.ok(False, case.__name__)
        if rig.front.poll() is not None:
            tap.ok(False, "front ended with %s" % rig.front.returncode)
            break
    same(rig.close(), 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
