"""File system calls, pause and forward: contract 1.6, 1.10, 1.12, as far as the server offers them."""
import json
import threading
import time

from client import WebSocket, query
from world import Skip, must, same


def offered(status):
    if status in (404, 405, 501):
        raise Skip("not offered yet: %d" % status)


def case_readdir_stat(env):
    """readdir and stat: name, type, size, RFC 3339 mtime, octal mode"""
    env.api.sh(env.vm(), "mkdir -p /tmp/fs/d; printf 12345 >/tmp/fs/f; chmod 640 /tmp/fs/f; chmod 755 /tmp/fs/d; ln -sf f /tmp/fs/l")
    status, _, body = env.api.call("GET", query("/vm/%s/fs/readdir" % env.vm(), path="/tmp/fs"))
    offered(status)
    entries = {e["name"]: e for e in json.loads(body)}
    same({n: e["type"] for n, e in entries.items()}, {"d": "directory", "f": "file", "l": "symlink"})
    one = env.api.get(query("/vm/%s/fs/stat" % env.vm(), path="/tmp/fs/f"))
    same((one["name"], one["type"], one["size"], one["mode"]), ("f", "file", 5, "0640"))
    must("T" in one["mtime"] and one["mtime"][0] == "2", one)
    same(env.api.call("GET", query("/vm/%s/fs/stat" % env.vm(), path="/tmp/nope"))[0], 404)


def case_mkdir_remove(env):
    """mkdir and remove, recursive and not"""
    path = "/vm/%s/fs/" % env.vm()
    status, _, body = env.api.call("POST", path + "mkdir", {"path": "/tmp/mk/a/b", "recursive": True, "mode": "0750"})
    offered(status)
    same(status, 200, body)
    same(env.api.sh(env.vm(), "stat -c %a /tmp/mk/a/b")[1], b"750\n")
    must(env.api.call("POST", path + "mkdir", {"path": "/tmp/no/a/b", "recursive": False})[0] >= 400, "mkdir without parents")
    must(env.api.call("DELETE", query(path + "remove", path="/tmp/mk", recursive=False))[0] >= 400, "remove of a full folder")
    same(env.api.call("DELETE", query(path + "remove", path="/tmp/mk", recursive=True))[0], 200)
    same(env.api.sh(env.vm(), "ls -d /tmp/mk 2>/dev/null")[1], b"")


def case_pause(env):
    """pause: exec and cp answer 409, the guest's clock of work stands; resume: as before"""
    name = env.vm()
    status, _, body = env.api.call("POST", "/vm/%s/pause" % name)
    offered(status)
    same(status, 200, body)
    try:
        same([n["status"] for n in env.api.get("/nodes") if n["hostname"] == name], ["Paused"])
        same(env.api.call("POST", query("/vm/%s/exec" % name, cmd="id"))[0], 409)
        same(env.api.call("GET", query("/vm/%s/cp" % name, path="/etc/passwd"))[0], 409)
    finally:
        same(env.api.call("POST", "/vm/%s/resume" % name)[0], 200)
    same(env.api.sh(name, "echo back")[1], b"back\n")
    same([n["status"] for n in env.api.get("/nodes") if n["hostname"] == name], ["Running"])


def case_pause_during_exec(env):
    """an exec that was running goes on after a pause and loses nothing"""
    name, got = env.vm(), []

    def work():
        got.append(env.api.sh(name, "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.05; done"))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.6)
    status, _, _ = env.api.call("POST", "/vm/%s/pause" % name)
    time.sleep(1)
    if status == 200:
        env.api.call("POST", "/vm/%s/resume" % name)
    thread.join()
    same(got[0][:2], (0, b"".join(b"%d\n" % i for i in range(30))))


def case_forward(env):
    """a forward to a server inside the guest: raw bytes both ways"""
    env.api.sh(env.vm(), "(nc -l -p 7777 -e cat || nc -lp 7777 -e cat) >/dev/null 2>&1 </dev/null & sleep 0.5")
    with env.api.conn() as conn:
        ws = WebSocket(conn, "/vm/%s/forward" % env.vm(), {"X-Inlets-Client-ID": "t", "X-Inlets-Mode": "local", "X-Inlets-Upstream": "127.0.0.1:7777"})
        offered(ws.reply.status)
        same(ws.reply.status, 101)
        data, got = bytes(range(256)) * 20, b""
        ws.send(data)
        while len(got) < len(data):
            opcode, message = ws.recv()
            if opcode == 8:
                raise Skip("no echo server in the guest")
            got += message if opcode == 2 else b""
        same(got == data, True, "echo")


def case_forward_refused(env):
    """a forward to a port where nobody listens: refused or closed, soon"""
    with env.api.conn(20) as conn:
        ws = WebSocket(conn, "/vm/%s/forward" % env.vm(), {"X-Inlets-Client-ID": "t", "X-Inlets-Mode": "local", "X-Inlets-Upstream": "127.0.0.1:1"})
        if ws.reply.status == 101:
            same(ws.recv()[0], 8, "a close frame")
        else:
            must(ws.reply.status >= 400, ws.reply.status)


def case_stats(env):
    """stats: arrays, also for one VM"""
    status, _, body = env.api.call("GET", "/node/%s/stats" % env.vm())
    offered(status)
    one = json.loads(body)
    must(isinstance(one, list) and one[0]["hostname"] == env.vm(), one)
    if one[0]["snapshot"]:
        must(one[0]["snapshot"]["totalMemory"] > 50 << 20, one)
    must(env.vm() in [n["hostname"] for n in env.api.get("/nodes/stats")])
