#!/usr/bin/env python3
"""cli_fake.py MICA [CASE-PREFIX]: the command line against a stand-in for the daemon that speaks the contract (and, where asked, breaks it)."""
import base64
import hashlib
import http.server
import io
import json
import os
import pty
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse

mica = os.path.abspath(sys.argv[1])
top = tempfile.mkdtemp(prefix="mica-cli.", dir=os.environ.get("TMPDIR", "/tmp"))
NODE = {"hostname": "vm-1", "hostgroup": "vm", "ip": "192.168.137.2", "ram_bytes": 1 << 29, "cpus": 2, "created_at": "2026-01-01T00:00:00.5Z", "arch": "x86_64",
        "tags": ["name=web", "job=7"], "status": "Running", "persistent": True}
seen = []       # (method, path, query, headers)
uploads = {}    # path → body
bench_vms = {}  # hostname → tag
lock = threading.Lock()


class Fake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unix"

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            out = b""
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def chunks(self):
        while True:
            n = int(self.rfile.readline().split(b";")[0], 16)
            data = self.rfile.read(n)
            self.rfile.readline()
            if n == 0:
                return
            yield data

    def reply(self, status, value, kind="application/json", extra=()):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for k, v in extra:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def frame(self, **f):
        f.setdefault("exit_code", 0)
        self.chunk(json.dumps(f).encode() + b"\n")

    def out(self, data, name="stdout"):
        self.frame(type=name, encoding="base64", **{name: base64.b64encode(data).decode()})

    def handle_one(self):
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[1:]]
        q = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        seen.append((self.command, url.path, q, dict(self.headers)))
        if self.headers.get("Authorization") == "Bearer wrong":
            return self.reply(401, {"error": "missing or wrong token"})
        if parts in (["nodes", "stats"], ["node", "vm-1", "stats"]):
            uploads["stats"] = n = uploads.get("stats", 0) + 1
            snap = {"hostname": "vm-1", "uptime": "6m53s", "totalCpus": 2, "memoryUsed": 1 << 28, "memoryAvailable": 1 << 27, "loadAvg1": 0.5, "loadAvg5": 1,
                    "loadAvg15": 2.25, "diskReadTotal": n << 30, "diskWriteTotal": 7, "networkReadTotal": 100 - n, "networkWriteTotal": 5,
                    "diskSpaceFree": 1 << 33, "diskSpaceUsedPercent": 12.4}
            item = {"hostname": "vm-1", "ip": NODE["ip"], "created_at": NODE["created_at"], "snapshot": snap, "error": ""}
            return self.reply(200, [item] + [dict(item, hostname="vm-3", snapshot=None, error="paused")] * (parts[0] == "nodes"))
        if parts[0] == "nodes":
            tag = q.get("tag", [None])[0]
            if tag and tag.startswith("bench="):
                return self.reply(200, [dict(NODE, hostname=n) for n, t in bench_vms.items() if t == tag])
            return self.reply(200, [NODE] if tag is None or tag in NODE["tags"] else [])
        if parts[0] == "info":
            return self.reply(200, {"version": "9", "git_commit": "abc", "platform": "linux", "arch": "amd64"})
        if parts[0] == "secrets":
            return self.secrets(*parts[1:])
        if parts == ["hostgroup"]:
            return self.reply(200, [{"name": "vm", "count": 1, "ram_bytes": 1 << 32, "cpus": 2, "arch": "x86_64"}])
        if parts[0] == "hostgroup" and self.command == "POST":
            uploads["create"] = json.loads(self.body())
            tag = [t for t in uploads["create"].get("tags", []) if t.startswith("bench=")]
            if tag:
                with lock:
                    number = uploads["bench"] = uploads.get("bench", 0) + 1
                    if parts[1] == "bad" and number % 2:
                        return self.reply(507, {"error": "no room"})
                    bench_vms["bench-%d" % number] = tag[0]
                time.sleep(0.05)
                return self.reply(201, {"hostname": "bench-%d" % number, "hostgroup": parts[1]})
            return self.reply(201, {"hostname": "vm-2", "hostgroup": "vm", "ip": "192.168.137.3/24", "created_at": NODE["created_at"],
                "arch": "amd64", "persistent": True})
        if parts[0] == "hostgroup" and self.command == "DELETE":
            bench_vms.pop(parts[3], None)
            return self.reply(200, {"message": "gone", "disk_removed": "true", "error": ""})
        if parts[0] == "vm" and parts[1] in ("vm-1", "vm-2"):
            return getattr(self, "vm_" + (parts[2] if len(parts) > 2 else "describe"))(q)
        self.close_connection = True  # the body may not have ended, and need not
        return self.reply(404, {"error": "no VM is called %s" % parts[1]})

    do_GET = do_POST = do_DELETE = do_PATCH = do_HEAD = handle_one

    def secrets(self, name=None):
        kept, body = uploads.setdefault("secrets", {}), json.loads(self.body() or b"{}")
        uploads["secret"] = body
        if self.command == "GET":
            return self.reply(200, [{"name": n, "size": len(d), "permissions": "0600", "uid": 7, "gid": 8, "modified_at": NODE["created_at"]} for n, d in kept.items()])
        if self.command == "POST" and body["name"] in kept:
            return self.reply(409, {"error": "there is one already"})
        if self.command != "POST" and name not in kept:
            return self.reply(404, {"error": "no secret has that name"})
        if self.command == "DELETE":
            del kept[name]
            return self.reply(200, {"message": "removed"})
        name = name or body["name"]
        kept[name] = base64.b64decode(body.get("data", "")) or kept.get(name, b"")
        return self.reply(201 if self.command == "POST" else 200, {"name": name, "size": len(kept[name])})

    def vm_describe(self, q):
        self.reply(200, dict(NODE, storage="image", image="min", network={"mode": "bridge"}, open_agent_connections=0,
                             fault="the VM ended by panic: oops"))

    def vm_health(self, q):
        self.reply(200, {"hostname": "vm-1", "agent_uptime": 5 * 10**9, "system_uptime": 65 * 10**9, "agent_version": "1", "userdata_ran": True})

    def vm_disk(self, q):
        """Disk of 1 MiB, 5000 bytes of it not zero; the other VM runs."""
        if "/vm-2/" in self.path:
            return self.reply(409, {"error": "VM 'vm-2' is not stopped: shut it down first ('mica vm shutdown')"})
        data = b"d" * 5000 + bytes((1 << 20) - 5000)
        self.send_response(200)
        self.send_header("X-Disk-Size", str(len(data)))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def vm_logs(self, q):
        self.reply(200, {"hostname": "vm-1", "lines": 1, "content": "lines=%s" % q["lines"][0]})

    def vm_shutdown(self, q):
        self.reply(200, b"stopped", "text/plain")

    def vm_tags(self, q):
        self.reply(200, {"hostname": "vm-1", "tags": json.loads(self.body() or b'{"add":["old"]}').get("add", [])})

    def vm_exec(self, q):
        cmd, args = q["cmd"][0], q.get("args", [])
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if cmd == "missing":
            self.frame(error="missing: not found", exit_code=127)
            return self.wfile.write(b"0\r\n\r\n")
        self.frame(type="started", pid=7)
        if cmd == "echo-query":
            self.out(json.dumps(q).encode())
        elif cmd == "cat":  # full duplex: each piece comes back at once
            for data in self.chunks():
                self.out(data)
        elif cmd == "flood":
            block = bytes(range(256)) * 128
            for _ in range(int(args[0])):
                self.out(block)
        elif cmd == "both":
            self.out(b"to out\n")
            self.out(b"to err\n", "stderr")
        elif cmd == "lost":
            self.out(b"half")
            self.connection.close()
            self.close_connection = True
            return None
        elif cmd == "no-exit":
            self.out(b"half")
            return self.wfile.write(b"0\r\n\r\n")
        elif cmd == "no-code":
            self.chunk(b'{"type":"exit","pid":7}\n')
            return self.wfile.write(b"0\r\n\r\n")
        elif cmd == "garbage":
            self.chunk(b"this is no JSON\n")
            return self.wfile.write(b"0\r\n\r\n")
        elif cmd == "hang":
            try:
                while self.connection.recv(1000):
                    pass
            finally:
                uploads["hang"] = "closed"
            return None
        self.frame(type="exit", pid=7, exit_code=int(args[-1]) if cmd == "both" else 0)
        return self.wfile.write(b"0\r\n\r\n")

    def vm_cp(self, q):
        path, mode = q["path"][0], q["mode"][0]
        if mode.startswith("cp-v1") and path.startswith("/old"):
            self.body()
            return self.reply(400, {"error": "invalid mode: " + mode})
        if self.command == "POST":
            if path == "/full":
                self.rfile.read(1000)
                self.reply(507, {"error": "no space left in the guest"})
                self.close_connection = True
                return None
            if path == "/dropped":
                left = int(self.headers["Content-Length"])
                while left > 0:
                    left -= len(self.rfile.read(min(left, 1 << 20)))
                return self.reply(200, b"")
            uploads[path] = (mode, q, self.body(), self.headers.get("X-Slicer-Unpacked-Size"))
            return self.reply(200, b"")
        if path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.send_header("X-Slicer-Source-Type", "file")
            self.end_headers()
            self.wfile.write(b"x" * 5000)
            self.close_connection = True
            return None
        if path in ("/dir", "/old/dir", "/evil"):
            if mode == "binary" or mode == "cp-v1-binary":
                return self.reply(400, {"error": "must specify a file not a directory"})
            raw = io.BytesIO()
            with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as t:
                for name, text in (("a", b"1"), ("sub/b", b"2")) if path != "/evil" else (("../escaped", b"x"),):
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(text), 0o755
                    t.addfile(info, io.BytesIO(text))
            name = base64.urlsafe_b64encode(b"dir").rstrip(b"=").decode()
            return self.reply(200, raw.getvalue(), "application/x-tar", (("X-Slicer-Source-Type", "directory"), ("X-Slicer-Source-Name-Base64", name)))
        if path == "/none":
            return self.reply(404, {"error": "/none: no such file or directory"})
        return self.reply(200, b"content of " + path.encode(), "application/octet-stream", (("X-Slicer-File-Mode", "0755"), ("X-Slicer-Source-Type", "file"),
                          ("X-Slicer-Source-Name-Base64", base64.urlsafe_b64encode(os.path.basename(path).encode()).rstrip(b"=").decode())))

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"]
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
        self.close_connection = True

    def ws_read(self):
        """opcode and payload of the next frame; opcode 8 also at the end of the connection"""
        head = self.rfile.read(2)
        if len(head) < 2:
            return 8, b"lost"
        n = head[1] & 127
        n = struct.unpack(">H", self.rfile.read(2))[0] if n == 126 else struct.unpack(">Q", self.rfile.read(8))[0] if n == 127 else n
        mask, data = self.rfile.read(4), self.rfile.read(n)
        mask = (mask * (n // 4 + 1))[:n]
        return head[0] & 15, (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(n, "big")

    def ws_send(self, data, op=2):
        n = len(data)
        head = struct.pack(">BB", 0x80 | op, n) if n < 126 else struct.pack(">BBH", 0x80 | op, 126, n) if n < 65536 else struct.pack(">BBQ", 0x80 | op, 127, n)
        self.connection.sendall(head + data)

    def vm_forward(self, q):
        upstream = self.headers["X-Inlets-Upstream"]
        if upstream == "127.0.0.1:1":
            return self.reply(502, {"error": "dial tcp 127.0.0.1:1: connection refused"})
        self.websocket()
        if upstream == "127.0.0.1:2":  # much, then the end
            for _ in range(100):
                self.ws_send(b"0123456789abcdef" * 4096)
            return self.ws_send(struct.pack(">H", 1000), 8)
        if upstream == "127.0.0.1:3":  # lost without a goodbye
            return self.ws_send(b"half")
        if upstream == "127.0.0.1:4":
            return self.ws_send(b"text", 1)
        got = uploads[upstream] = []
        while True:
            op, data = self.ws_read()
            got.append((op, data))
            if op == 8:
                return None if data == b"lost" else self.ws_send(data, 8)
            self.ws_send(data)

    def vm_shell(self, q):
        self.websocket()

        def exactly(n):
            data = self.rfile.read(n)
            if len(data) != n:
                raise EOFError
            return data

        def send(kind, data):
            body = struct.pack(">BI", kind, len(data)) + data
            self.connection.sendall((struct.pack(">BB", 0x82, len(body)) if len(body) < 126 else struct.pack(">BBH", 0x82, 126, len(body))) + body)
        try:
            while True:
                op, n = exactly(2)
                n &= 127
                if n == 126:
                    (n,) = struct.unpack(">H", exactly(2))
                mask, data = exactly(4), exactly(n)
                data = bytes(b ^ mask[i & 3] for i, b in enumerate(data))
                if op & 15 == 8:
                    return
                kind, size = struct.unpack(">BI", data[:5])
                data = data[5:5 + size]
                if kind == 2:
                    send(1, b"window %d %d\r\n" % struct.unpack(">II", data))
                elif kind == 1:
                    send(1, b"got:" + data)
                    if b"exit" in data:
                        send(5, b"")
        except EOFError:
            pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that leaves is part of the tests


sock = os.path.join(top, "api.sock")
threading.Thread(target=Server(sock, Fake).serve_forever, daemon=True).start()
environ = {"PATH": os.environ["PATH"], "HOME": top, "MICA_URL": sock}


def run(*words, stdin=b"", limit_s=30, **env):
    return subprocess.run([mica, *words], input=stdin, capture_output=True, timeout=limit_s, cwd=top, env=dict(environ, **env))


def write(name, data):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(name):
    with open(os.path.join(top, name), "rb") as f:
        return f.read()


def case_list():
    """list, list --json, -q, shortcuts, the friendly name"""
    done = run("vm", "list")
    assert done.returncode == 0 and done.stdout.startswith(b"HOSTNAME"), done
    row = done.stdout.split(b"\n")[1].split()
    assert row[0] == b"vm-1" and row[2] == b"512MiB" and row[-2:] == [b"web", b"job=7"], row
    assert json.loads(run("ls", "--json").stdout)[0]["hostname"] == "vm-1"
    assert run("v", "l", "-q").stdout == b"vm-1\n"
    assert run("vm", "list", "--tag", "none").stdout.count(b"\n") == 1


def case_describe():
    """describe, health, logs, info, group"""
    out = run("vm", "describe", "vm-1").stdout
    assert b"Hostname:" in out and b"Ended by:      the VM ended by panic" in out, out
    assert b"5s" in run("vm", "health", "vm-1").stdout and b"1m5s" in run("vm", "health", "vm-1").stdout
    assert run("logs", "vm-1", "--lines=7").stdout == b"lines=7\n" and run("logs", "vm-1").stdout == b"lines=20\n"
    assert json.loads(run("info", "--json").stdout)["arch"] == "amd64" and b"abc" in run("info").stdout
    assert b"4GiB" in run("vm", "group").stdout


def case_launch():
    """launch: body, the only group, Hostname: for scripts"""
    done = run("vm", "launch", "--cpus", "1", "--ram-gb", "1", "--tag", "a=b", "--name", "db", "--wait", "--timeout", "2m", "--secrets",
        "x,y", "--userdata", "echo hi")
    assert done.returncode == 0, done.stderr
    assert [l.split()[1] for l in done.stdout.splitlines() if b"Hostname:" in l] == [b"vm-2"], done.stdout
    labels = [l.split()[0] for l in done.stdout.splitlines()[1:]]
    assert labels == [b"Hostname:", b"Group:", b"IP:", b"Specs:", b"Persistent:", b"Created:"], labels
    assert uploads["create"] == {"ram_bytes": 1 << 30, "cpus": 1, "persistent": True, "userdata": "echo hi", "tags": ["name=db", "a=b"],
                                 "secrets": ["x", "y"]}, uploads["create"]
    query = [s[2] for s in seen if s[0] == "POST"][-1]
    assert query == {"wait": ["agent"], "timeout": ["2m"]}, query
    assert json.loads(run("vm", "add", "vm", "--json", "--persistent=false").stdout)["hostname"] == "vm-2"
    assert uploads["create"] == {"persistent": False}


def case_launch_userdata():
    """launch: a userdata file that cannot be taken whole is an error, not a script made of its path"""
    write("big.sh", b"#" * (2 << 20))
    write("nul.sh", b"#!/bin/sh\0echo")
    os.makedirs(os.path.join(top, "folder.sh"), exist_ok=True)
    for name in ("big.sh", "nul.sh", "folder.sh"):
        uploads.pop("create", None)
        done = run("vm", "launch", "vm", "--userdata", name)
        assert done.returncode == 1 and "create" not in uploads and name.encode() in done.stderr, (name, done, uploads.get("create"))
    write("good.sh", b"echo hi\n")
    for given, want in (("good.sh", "echo hi\n"), ("echo inline", "echo inline"), ("#!/bin/sh\n" + "x" * 5000, "#!/bin/sh\n" + "x" * 5000)):
        assert run("vm", "launch", "vm", "--userdata", given).returncode == 0 and uploads["create"]["userdata"] == want, given


def case_others():
    """shutdown, delete, ready, tag"""
    assert run("vm", "shutdown", "vm-1").returncode == 0 and run("vm", "ready", "vm-1", "--userdata").returncode == 0
    assert run("vm", "delete", "vm-1").stdout == b"vm-1 deleted\n"
    assert run("vm", "tag", "add", "vm-1", "x", "--tag", "y").stdout == b"y\nx\n"


def case_exec_query():
    """exec: what goes into the query"""
    q = json.loads(run("vm", "exec", "vm-1", "--uid", "0", "-e", "A=b c", "--cwd", "~/x", "--shell", "", "--", "echo-query", "--uid", "ü é").stdout)
    assert q == {"cmd": ["echo-query"], "args": ["--uid", "ü é"], "env": ["A=b c"], "cwd": ["~/x"], "uid": ["0"], "stdin": ["true"], "stdio": ["base64"]}, q
    assert run("exec", "vm-1", "lost-words").returncode == 0  # no "--" needed
    q = json.loads(run("vm", "exec", "vm-1", "-e", "LONG", "--shell", "", "--", "echo-query", LONG="x" * 20000).stdout)
    assert q["env"] == ["LONG=" + "x" * 20000], len(q["env"][0])


def case_exec_shell():
    """exec: the default shell; one word is a script, several are kept whole"""
    run("vm", "exec", "vm-1", "--", "a | b; $X")
    q = seen[-1][2]
    assert q["shell"] == ["/bin/bash"] and q["cmd"] == ["a | b; $X"], q
    run("vm", "exec", "vm-1", "--", "sh", "-c", "echo 'it''s' \"$X\"", "", "plain-1.0")
    q = seen[-1][2]
    words = subprocess.run(["sh", "-c", "printf '%s\\n' " + q["cmd"][0]], capture_output=True).stdout
    assert words == b"sh\n-c\necho 'it''s' \"$X\"\n\nplain-1.0\n" and "args" not in q, (q, words)


def case_exec_streams():
    """exec: stdout, stderr, exit code; a friendly name"""
    done = run("vm", "exec", "vm-1", "--shell=", "--", "both", "42")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"to out\n", b"to err\n"), done
    done = run("vm", "exec", "web", "--shell=", "--", "both", "3")
    assert (done.returncode, done.stdout) == (3, b"to out\n"), done


def case_exec_stdin():
    """exec: a stdin of 20 MB comes back whole; and piece by piece while it stays open"""
    data = os.urandom(1 << 20) * 20
    done = run("vm", "exec", "vm-1", "--shell=", "--", "cat", stdin=data, limit_s=60)
    assert done.returncode == 0 and done.stdout == data, (done.returncode, len(done.stdout), done.stderr)
    p = subprocess.Popen([mica, "vm", "exec", "vm-1", "--shell=", "--", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    for word in (b"one\n", b"two\n"):
        p.stdin.write(word)
        p.stdin.flush()
        assert p.stdout.readline() == word
    p.stdin.close()
    assert p.wait(10) == 0


def case_exec_flood():
    """exec: 128 MB of output with equal hash"""
    p = subprocess.Popen([mica, "vm", "exec", "vm-1", "--shell=", "--stdin=false", "--", "flood", "4096"], stdout=subprocess.PIPE, env=environ)
    h, n = hashlib.sha256(), 0
    while True:
        piece = p.stdout.read(1 << 20)
        if not piece:
            break
        h.update(piece)
        n += len(piece)
    assert p.wait(60) == 0 and n == 4096 * 32768 and h.digest() == hashlib.sha256(bytes(range(256)) * 128 * 4096).digest(), n


def case_exec_head():
    """exec | head: ends, and is no error of ours"""
    done = subprocess.run("'%s' vm exec vm-1 --shell= --stdin=false -- flood 100000 | head -c 5 | wc -c" % mica, shell=True,
        capture_output=True, timeout=20, env=environ)
    assert done.stdout.strip() == b"5" and done.stderr == b"", done


def case_exec_lost():
    """exec: a lost agent, an answer without an exit code, garbage: 125 and three lines, never 0"""
    for cmd in ("lost", "no-exit", "garbage", "no-code"):
        done = run("vm", "exec", "vm-1", "--shell=", "--", cmd)
        assert done.returncode == 125 and done.stderr.count(b"\n") == 3 and done.stderr.startswith(b"error: "), (cmd, done)
    done = run("vm", "exec", "vm-1", "--shell=", "--", "missing")
    assert done.returncode == 127 and b"not found" in done.stderr, done
    done = run("vm", "exec", "vm-9", "--", "true")
    assert done.returncode == 125 and b"vm-9" in done.stderr and b"fix: " in done.stderr, done


def case_exec_interrupt():
    """exec: Ctrl-C closes the connection and ends with 130"""
    p = subprocess.Popen([mica, "vm", "exec", "vm-1", "--shell=", "--", "hang"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environ)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    assert (p.wait(5), p.stderr.read()) == (130, b""), p.returncode
    time.sleep(0.2)
    assert uploads.get("hang") == "closed"


def case_cp_in():
    """cp: a file and a folder into the VM, excludes, .slicerignore, permissions"""
    write("in/f.bin", b"\0\1\2" * 100000)
    os.chmod(os.path.join(top, "in/f.bin"), 0o640)
    write("in/skip.o", b"o")
    write("in/sub/deep.txt", b"deep")
    write("in/.slicerignore", b"# no\n*.o\n")
    assert run("vm", "cp", "in/f.bin", "vm-1:/tmp/").returncode == 0
    mode, q, body, _ = uploads["/tmp/"]
    assert mode == "cp-v1-binary" and body == b"\0\1\2" * 100000 and q["source_name"] == ["f.bin"] and q["permissions"] == ["0640"] and "uid" not in q, q
    done = run("vm", "cp", "in", "vm-1:/tree")
    assert done.returncode == 1 and b"-r" in done.stderr, done
    done = run("vm", "cp", "-r", "in", "web:/tree", "--uid", "0", "--exclude", "deep.*")
    assert done.returncode == 0, done.stderr
    mode, q, body, size = uploads["/tree"]
    names = sorted(tarfile.open(fileobj=io.BytesIO(body)).getnames())
    assert mode == "cp-v1-tar" and names == [".slicerignore", "f.bin", "sub"] and q["uid"] == ["0"] and q["source_type"] == ["directory"], (names, q)
    assert int(size) >= 300000
    assert run("vm", "cp", "-r", "in/.", "vm-1:/tree2").returncode == 0 and uploads["/tree2"][1]["copy_contents"] == ["true"]


def case_cp_in_old():
    """cp: falls back to the older modes; a refusal in the middle of a large upload is read and told"""
    write("one", b"1")
    assert run("vm", "cp", "one", "vm-1:/old/").returncode == 0 and uploads["/old/one"][0] == "binary"
    with open(os.path.join(top, "large"), "wb") as f:
        f.truncate(200 << 20)
    done = run("vm", "cp", "large", "vm-1:/full")
    assert done.returncode == 1 and b"no space left in the guest" in done.stderr and done.stderr.count(b"\n") == 3, done
    blob = os.urandom(1 << 20)
    done = run("vm", "cp", "/dev/stdin", "web:/piped", stdin=blob)  # the name costs a second attempt, a pipe is read once
    assert done.returncode == 0 and uploads["/piped"][2] == blob, (done, len(uploads.get("/piped", (0, 0, b""))[2]))
    done = run("vm", "cp", "/dev/stdin", "vm-1:/old/piped", stdin=blob)
    assert done.returncode == 1 and b"fix: " in done.stderr and "/old/piped" not in uploads, done
    done = run("vm", "cp", "-r", "in", "vm-1:/many", *["--exclude=x%d" % i for i in range(300)])
    assert done.returncode == 2 and "/many" not in uploads, done
    done = run("vm", "cp", "not-there", "vm-1:/x")
    assert done.returncode == 1 and b"not-there" in done.stderr, done


def case_cp_out():
    """cp: a file and a folder out; into a folder, over a file, to standard output"""
    os.makedirs(os.path.join(top, "out"), exist_ok=True)
    assert run("vm", "cp", "vm-1:/bin/tool",
        "out").returncode == 0 and read("out/tool") == b"content of /bin/tool" and os.access(os.path.join(top, "out/tool"), os.X_OK)
    assert run("vm", "cp", "vm-1:/x", "out/tool").returncode == 0 and read("out/tool") == b"content of /x"
    assert run("vm", "cp", "vm-1:/x", "-").stdout == b"content of /x"
    assert run("vm", "cp", "vm-1:/x", "/dev/null").returncode == 0 and not os.path.isfile("/dev/null")
    done = run("vm", "cp", "vm-1:/dir", "out")
    assert done.returncode == 1 and b"-r" in done.stderr, done
    assert run("vm", "cp", "-r", "vm-1:/dir", "out").returncode == 0 and read("out/dir/sub/b") == b"2"
    assert run("vm", "cp", "-r", "vm-1:/dir", "fresh").returncode == 0 and read("fresh/a") == b"1"
    assert run("vm", "cp", "-r", "vm-1:/old/dir", "fresh2").returncode == 0 and read("fresh2/a") == b"1"
    assert run("vm", "cp", "--mode", "tar", "vm-1:/dir", "fresh3").returncode == 0 and read("fresh3/sub/b") == b"2"


def case_cp_out_bad():
    """cp: a download that is cut, a hostile archive, a path that is not there: nothing is left, nothing replaced"""
    write("keep/f", b"before")
    done = run("vm", "cp", "vm-1:/cut", "keep/f")
    assert done.returncode == 1 and read("keep/f") == b"before" and os.listdir(os.path.join(top, "keep")) == ["f"], done
    done = run("vm", "cp", "-r", "vm-1:/evil", "keep/evil")
    assert done.returncode == 1 and os.listdir(os.path.join(top, "keep")) == ["f"] and not os.path.exists(os.path.join(top, "escaped")), done
    done = run("vm", "cp", "vm-1:/none", "keep/none")
    assert done.returncode == 1 and b"no such file" in done.stderr and os.listdir(os.path.join(top, "keep")) == ["f"], done
    done = run("vm", "cp", "a", "b")
    assert done.returncode == 2, done


def case_progress():
    """cp: a bar on a terminal, nothing but the error text elsewhere"""
    with open(os.path.join(top, "larger"), "wb") as f:
        f.truncate(600 << 20)
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(mica, [mica, "vm", "cp", os.path.join(top, "larger"), "vm-1:/dropped"], environ)
    data = b""
    try:
        while True:
            data += os.read(fd, 65536)
    except OSError:
        pass
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0 and b"larger  [" in data and b"/600MiB" in data and b"/s" in data, data[-300:]
    os.close(fd)
    assert run("vm", "cp", "larger", "vm-1:/dropped").stderr == b""


def case_shell():
    """shell: on a terminal: window size, keys, end; Ctrl+] detaches"""
    for keys, want in ((b"exit\r", b"got:exit"), (b"\x1d", b"window")):
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(mica, [mica, "vm", "shell"], environ)
        import fcntl
        import termios
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        time.sleep(0.7)
        os.write(fd, keys)
        data, end = b"", time.time() + 10
        try:
            while time.time() < end:
                piece = os.read(fd, 1000)
                if not piece:
                    break
                data += piece
        except OSError:
            pass
        _, status = os.waitpid(pid, 0)
        os.close(fd)
        assert os.WEXITSTATUS(status) == 0 and want in data, (status, data)
    r, w = os.pipe()
    os.set_blocking(w, False)
    p = subprocess.Popen([mica, "vm", "shell", "vm-1"], stdin=subprocess.PIPE, stdout=w, cwd=top, env=environ)
    os.close(w)
    threading.Thread(target=lambda: (p.stdin.write(b"a" * 400000 + b"exit"), p.stdin.close()), daemon=True).start()
    time.sleep(0.7)
    data = b""
    while piece := os.read(r, 65536):
        data += piece
    os.close(r)
    assert p.wait(10) == 0 and data.count(b"a") == 400000, (p.returncode, len(data))
    done = run("vm", "shell", "vm-1", "--bootstrap", "exit 0")
    assert done.returncode == 0 and b"got:exit 0" in done.stdout, done


def case_errors():
    """usage, names, tokens, no daemon"""
    for words in (("vm",), ("vm", "exec"), ("vm", "exec", "vm-1"), ("nonsense",), ("vm", "list", "--wat"), ("vm", "logs", "vm-1",
        "--lines", "x"), ("vm", "logs", "../x"),
                  ("vm", "describe", "a" * 4096), ("vm", "describe", "commits"), ("vm", "launch", "--name", "Bad_Name"), ("vm", "list",
                      "--url"), ("info", "--url", "http://"),
                  ("info", "--url", "http://h:99999"), ("info", "--url", "http://h", "--socket", "/x"), ("info", "--url", "https://h")):
        done = run(*words)
        assert done.returncode in (2, 125) and (b"error: " in done.stderr or words == ("vm",)), (words, done)
    done = run("vm", "list", "--token", "wrong")
    assert done.returncode == 1 and b"401" in done.stderr and b"fix: " in done.stderr, done
    done = run("vm", "list", MICA_URL="/no/where.sock")
    assert done.returncode == 1 and b"mica up" in done.stderr, done
    assert b"vm list" in run("vm", "lits").stderr


def case_leading_options():
    """connection options before the command; refused before a command that asks no daemon"""
    assert run("--socket", sock, "vm", "list", "-q", MICA_URL="/wrong").stdout == b"vm-1\n"
    assert run("--url=" + sock, "--token", "abc", "ls", "-q", MICA_URL="/wrong").stdout == b"vm-1\n"
    assert seen[-1][3]["Authorization"] == "Bearer abc"
    for words in (("--socket", sock, "new"), ("--socket",), ("--socket", sock), ("--nope", "vm", "list"), ("--token", "x", "run", "--", "true")):
        done = run(*words)
        assert done.returncode in (2, 125) and not done.stdout.startswith(b"config:"), (words, done)


class Forward:
    """a running vm forward; .where[i]: what it says it listens on"""
    def __init__(self, *words, n=1):
        self.p = subprocess.Popen([mica, "vm", "forward", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=top, env=environ)
        self.where = [self.p.stdout.readline().decode().split()[1] for _ in range(n)]

    def connect(self, i=0):
        if "/" in self.where[i]:
            c = socket.socket(socket.AF_UNIX)
            c.connect(os.path.join(top, self.where[i]))
        else:
            host, port = self.where[i].rsplit(":", 1)
            c = socket.create_connection((host, int(port)))
        c.settimeout(20)
        return c

    def end(self, sig=signal.SIGINT):
        self.p.send_signal(sig)
        out = self.p.communicate(timeout=10)[1]
        return self.p.returncode, out


def read_all(c):
    data = b""
    while True:
        piece = c.recv(1 << 20)
        if not piece:
            return data
        data += piece


def case_forward():
    """forward: bytes both ways on many connections, TCP and unix sockets, until Ctrl-C"""
    f = Forward("web", "-L", "0:127.0.0.1:7", "--listen=./fwd.sock:/run/x.sock", "0:127.0.0.1:2", n=3)
    conns = [f.connect(i % 2) for i in range(60)]
    for i, c in enumerate(conns):
        c.sendall(b"hello %d" % i)
    for i, c in enumerate(conns):
        assert c.recv(100) == b"hello %d" % i
    assert os.stat(os.path.join(top, "fwd.sock")).st_mode & 0o777 == 0o660
    upstreams = {s[3]["X-Inlets-Upstream"] for s in seen if s[1] == "/vm/vm-1/forward"}
    assert {"127.0.0.1:7", "unix:/run/x.sock"} <= upstreams and seen[-1][3]["X-Inlets-Mode"] == "local", upstreams
    blob = os.urandom(5 << 20)
    threading.Thread(target=lambda: conns[0].sendall(blob), daemon=True).start()
    back = b""
    while len(back) < len(blob):
        back += conns[0].recv(1 << 20)
    assert back == blob
    time.sleep(0.2)
    slow = f.connect(2)
    time.sleep(0.3)
    assert read_all(slow) == b"0123456789abcdef" * 4096 * 100  # all of it, then the end
    assert f.end() == (0, b"") and not os.path.exists(os.path.join(top, "fwd.sock"))


def case_forward_ends():
    """forward: the first end drops both directions; failed dials are told; a lost daemon is a reset"""
    f = Forward("vm-1", "0:127.0.0.1:8", "0:127.0.0.1:1", "0:127.0.0.1:3", "0:127.0.0.1:4", n=4)
    c = f.connect()
    c.sendall(b"last words" * 100000)
    c.shutdown(socket.SHUT_WR)
    end = time.time() + 10
    while not uploads.get("127.0.0.1:8") or uploads["127.0.0.1:8"][-1][0] != 8:
        assert time.time() < end
        time.sleep(0.05)
    got = uploads["127.0.0.1:8"]
    assert b"".join(d for op, d in got if op == 2) == b"last words" * 100000 and got[-1] == (8, struct.pack(">H", 1000)), got[-1]
    for i in (1, 2, 3):
        c = f.connect(i)
        try:
            data = read_all(c)
            assert False, (i, data)
        except ConnectionResetError:
            pass
    code, err = f.end(signal.SIGTERM)
    assert code == 0 and err.count(b"\n") == 1 and b"127.0.0.1:1 in vm-1" in err and b"connection refused (HTTP 502)" in err, err


def case_forward_listen():
    """forward: a stale socket is replaced, a live one and a plain file are not; what cannot be listened on, or is no spec, is told"""
    path = os.path.join(top, "stale.sock")
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()
    f = Forward("vm-1", path + ":/run/x.sock")
    done = run("vm", "forward", "vm-1", path + ":/run/x.sock")
    assert done.returncode == 1 and b"another program listens" in done.stderr, done
    c = f.connect()
    c.sendall(b"x")
    assert c.recv(1) == b"x" and f.end()[0] == 0
    done = run("vm", "forward", "vm-1", write("plain", b"kept") + ":/run/x.sock")
    assert done.returncode == 1 and read("plain") == b"kept", done
    done = run("vm", "forward", "vm-1", "9001:192.0.2.1:80")
    assert done.returncode == 1 and b"cannot listen" in done.stderr, done
    for words in (("vm-1",), ("vm-1", "80"), ("vm-1", "9000:9001"), ("vm-1", "-L", "a:b:c:d:e")):
        done = run("vm", "forward", *words)
        assert done.returncode == 2 and b"fix: " in done.stderr, (words, done)
    assert run("vm", "forward", "vm-9", "0:127.0.0.1:7").returncode == 1


def case_service():
    """service generate: a unit that systemd accepts; install never overwrites without --force"""
    conf = write("s p%c/mica$x.yaml", b"config: {}\n")
    done = run("service", "generate", conf)
    text = done.stdout.decode()
    folder = os.path.dirname(conf).replace("%", "%%")
    assert done.returncode == 0 and "\nKillMode=process\n" in text and "\nTimeoutStopSec=120\n" in text and "User=" not in text, done
    assert 'ExecStart="%s" up "%s/mica$$x.yaml"\n' % (mica, folder) in text and "WorkingDirectory=%s\n" % folder in text, text
    if shutil.which("systemd-analyze"):
        unit = write("verify/mica-test.service", done.stdout)
        told = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True).stderr
        assert not [l for l in told.splitlines() if "mica-test" in l], told
    units = os.path.join(top, "units")
    os.makedirs(units)
    words = ("service", "generate", "--install", "--unit-dir", units, "--name", "ci", "--user", "builder", "--timeout-stop-sec=30", conf)
    done = run(*words)
    assert done.returncode == 0 and b"enable --now ci" in done.stdout and "\nUser=builder\n" in read("units/ci.service").decode(), done
    write("units/ci.service", b"kept")
    assert run(*words).returncode == 1 and read("units/ci.service") == b"kept"
    assert run(*words, "--force").returncode == 0 and b"KillMode" in read("units/ci.service") and os.listdir(units) == ["ci.service"]
    for bad in (("/no/such.yaml",), ("--name", "a/b", conf), ("--user", "a b", conf), (write("a\nb.yaml", b""),)):
        assert run("service", "generate", *bad).returncode == 2, bad


def case_sweep():
    """run: sweeps folders of killed runs: ours by name and owner, locked by nobody"""
    import fcntl
    tmp = os.path.join(top, "t")
    names = ["mica-run-aaaaaa", "mica-run-bbbbbb", "mica-run-cccccc", "mica-run-dddddd", "mica-run-toolong1", "other"]
    for name in names:
        os.makedirs(os.path.join(tmp, name, "vm/run-1"), mode=0o700)
        os.chmod(os.path.join(tmp, name), 0o700)
        write(os.path.join(tmp, name, "vm/run-1/disk.img"), b"x")
    held = os.open(os.path.join(tmp, names[1]), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.chmod(os.path.join(tmp, names[2]), 0o755)
    core = os.open(os.path.join(tmp, names[3], "lock"), os.O_RDWR | os.O_CREAT)
    fcntl.lockf(core, fcntl.LOCK_EX)
    os.symlink(os.path.join(tmp, "other"), os.path.join(tmp, "mica-run-eeeeee"))
    run("run", "--kvm", "/no/such/device", "--", "true", TMPDIR=tmp)
    assert sorted(os.listdir(tmp)) == sorted(names[1:] + ["mica-run-eeeeee"]), os.listdir(tmp)
    assert os.path.exists(os.path.join(tmp, "other/vm/run-1/disk.img"))
    os.close(held)
    os.close(core)


def case_environment():
    """SLICER_* after MICA_*; called as slicer; a token from a file; HTTP over TCP"""
    link = os.path.join(top, "slicer")
    os.symlink(mica, link)
    done = subprocess.run([link, "ls", "-q"], capture_output=True, env={"SLICER_URL": sock, "HOME": top})
    assert done.stdout == b"vm-1\n", done
    assert run("ls", "-q", SLICER_URL="/wrong").stdout == b"vm-1\n"
    token = write("token", b"s3cret\n")
    run("info", "--token-file", token)
    assert seen[-1][3]["Authorization"] == "Bearer s3cret"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert run("ls", "-q", "--url", "http://127.0.0.1:%d" % server.server_port, "--token", "t").stdout == b"vm-1\n"
    assert seen[-1][3]["Authorization"] == "Bearer t" and seen[-1][3]["Host"] == "127.0.0.1:%d" % server.server_port


def case_top():
    """top: columns, rates of two samples, - for what is not known; --json; a friendly name"""
    done = run("vm", "top", "--interval", "500ms")
    lines = [l.split() for l in done.stdout.decode().splitlines()]
    assert lines[0] == "HOST IP CPU L1 L5 L15 MEM_USED MEM_FREE DISK_USED% DISK_FREE NET_RX/s NET_TX/s DR/s DW/s UP".split(), done
    assert lines[1][:10] == ["vm-1", NODE["ip"], "2", "0.50", "1.00", "2.25", "256MiB", "128MiB", "12%", "8GiB"], lines[1]
    assert lines[1][10:12] == ["-", "0B"] and lines[1][12].endswith("GiB") and lines[1][13:] == ["0B", "6m53s"], lines[1]
    assert lines[2] == ["vm-3", NODE["ip"]] + ["-"] * 13, lines[2]
    assert run("vm", "top", "web", "-i", "10ms", "--count", "3").stdout.count(b"HOST") == 3 and seen[-1][1] == "/node/vm-1/stats"
    assert len(json.loads(run("top", "--json").stdout)) == 2 and run("vm", "top", "vm-9").returncode == 1


def case_bench():
    """bench: launches at once, table, JSON, VMs removed or kept, failures fail"""
    done = run("bench", "--concurrency", "1,4", "--runs", "2")
    rows = [l.split() for l in done.stdout.decode().splitlines()]
    assert done.returncode == 0 and rows[0] == ["CONCURRENCY", "P50", "P95", "MAX", "FAILURES"], done
    assert [r[0] for r in rows[1:]] == ["1", "4"] and all(r[4] == "0" and 50 <= float(r[1][:-2]) <= float(r[3][:-2]) < 2000 for r in rows[1:]), rows
    assert uploads["bench"] == 10 and not bench_vms and uploads["create"]["persistent"] is False
    query = [s[2] for s in seen if s[0] == "POST"][-1]
    assert query == {"wait": ["agent"], "timeout": ["5m"]}, query
    done = run("bench", "--hostgroup", "bad", "--concurrency=4", "--runs=1", "--json", "--wait=none", "--keep", "--verbose")
    out = json.loads(done.stdout)
    assert done.returncode == 1 and sorted(out) == ["config", "observations", "receipt", "summary"] and b"2 of 4 launches failed" in done.stderr, done
    assert out["summary"][0]["failures"] == 2 and len(out["observations"]) == 4 and {o["ok"] for o in out["observations"]} == {True, False}
    assert [o["error"] for o in out["observations"] if not o["ok"]] == ["no room (HTTP 507)"] * 2 and out["receipt"]["daemon"]["version"] == "9"
    assert out["config"] == {"hostgroup": "bad", "concurrency": [4], "runs": 1, "wait": "none", "timeout": "5m", "keep": True}, out["config"]
    assert len(bench_vms) == 2 and done.stderr.count(b"4 at once, run 1") == 4
    bench_vms.clear()
    for words in (("--concurrency", "0"), ("--concurrency", "1,,2"), ("--concurrency", "257"), ("--runs", "0"), ("--wait", "x")):
        assert run("bench", *words).returncode == 2, words
    p = subprocess.Popen([mica, "bench", "--concurrency=3", "--runs=1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    time.sleep(0.6)
    p.send_signal(signal.SIGINT)
    assert p.communicate(timeout=10) and p.returncode == 130
    assert len(bench_vms) <= 3  # the stand-in makes VMs for clients that have left


def case_secret_refusals():
    """secret: names, values and options that are refused before anything is sent"""
    before = len(seen)
    for words in (("create",), ("create", ""), ("create", ".x", "--value", "v"), ("create", "a/b", "--value", "v"), ("create", "x" * 65, "--value", "v"),
                  ("create", "a", "--name", "b", "--value", "v"), ("create", "a", "--value", "v", "--from-literal", "w"), ("create", "a", "--uid", "root"),
                  ("create", "a", "b"), ("remove",), ("remove", ""), ("update", "a", "--value", ""), ("explode",), ()):
        done = run("secret", *words)
        assert done.returncode == 2 and (b"error: " in done.stderr or not words), (words, done)
    done = run("secret", "create", "a", "--from-file", "/no/such")
    assert done.returncode == 1 and b"/no/such" in done.stderr and b"fix: " in done.stderr, done
    for words, data in ((("--from-file", write("long", b"x" * 32769)), b""), ((), b"x" * 40000)):
        done = run("secret", "create", "a", *words, stdin=data)
        assert done.returncode == 1 and b"too long" in done.stderr, done
    assert len(seen) == before, seen[before:]


def case_secret():
    """secret: create from a literal, a file and a pipe; list, update, remove; what the daemon refuses"""
    def sent():
        return dict(uploads["secret"], data=base64.b64decode(uploads["secret"]["data"])) if "data" in uploads["secret"] else uploads["secret"]
    done = run("secret", "create", "api-key", "--from-literal", "s3 cret", "--permissions", "0400", "--uid", "1000", "--gid", "0")
    assert done.stdout == b"api-key created\n" and sent() == {"name": "api-key", "data": b"s3 cret", "permissions": "0400", "uid": 1000, "gid": 0}, (done, sent())
    assert run("secret", "create", "--name", "b", "--value", "v").returncode == 0 and sent() == {"name": "b", "data": b"v"}
    assert run("secret", "create", "pipe", stdin=b"a\0\xff\n").returncode == 0 and sent() == {"name": "pipe", "data": b"a\0\xff\n"}
    assert run("secret", "create", "file", "--from-file", write("value", b"y" * 32768)).returncode == 0 and sent()["data"] == b"y" * 32768
    done = run("secret", "create", "b", "--value", "w")
    assert done.returncode == 1 and b"409" in done.stderr and b"secret update" in done.stderr and b"w" * 2 not in done.stderr, done
    assert run("secret", "list", "-q").stdout == b"api-key\nb\npipe\nfile\n"
    assert run("secret", "ls").stdout.split()[:6] == [b"NAME", b"SIZE", b"MODIFIED", b"api-key", b"7B", run("secret", "ls").stdout.split()[5]]
    assert b"PERMISSIONS" in run("secret", "list", "-v").stdout and b"0600" in run("secret", "list", "-v").stdout
    assert len(json.loads(run("secret", "list", "--json").stdout)) == 4
    assert run("secret", "update", "b", "--permissions", "0440").stdout == b"b updated\n" and sent() == {"permissions": "0440"} and seen[-1][:2] == ("PATCH", "/secrets/b")
    assert run("secret", "update", "b", stdin=b"new").returncode == 0 and sent() == {"data": b"new"}
    done = run("secret", "update", "nope", "--value", "v")
    assert done.returncode == 1 and b"secret list" in done.stderr, done
    done = run("secret", "remove", "b", "nope", "../x", "file")
    assert done.returncode == 1 and done.stdout == b"b removed\nfile removed\n" and done.stderr.count(b"error: ") == 2, done
    assert run("secret", "list", "-q").stdout == b"api-key\npipe\n"


def case_disk_export():
    """disk export: a sparse file; a refusal leaves a file as it was, and says in the daemon's own words what mends it"""
    path = write("kept.img", b"mine")
    for vm, fix in (("vm-2", b"fix: shut it down first ('mica vm shutdown')\n"), ("vm-9", b"fix: 'mica vm list' shows what there is\n")):
        done = run("disk", "export", vm, "-f", path)
        assert done.returncode == 1 and open(path, "rb").read() == b"mine" and done.stderr.endswith(fix), done
    done = run("disk", "export", "vm-1", "-f", "/no/such/folder/x")
    assert done.returncode == 1 and done.stderr.count(b"error: ") == 1 and b"/no/such/folder/x" in done.stderr, done
    for words, at in ((("-f", path), path), ((), os.path.join(top, "vm-1.img"))):
        assert run("disk", "export", "vm-1", *words).returncode == 0
        data = open(at, "rb").read()
        assert len(data) == 1 << 20 and data.strip(b"\0") == b"d" * 5000 and os.stat(at).st_blocks * 512 <= 16384, os.stat(at)
    assert run("disk", "export", "vm-1", "-f", "-").stdout == data


def case_new():
    """new: YAML with the contract's keys; refusals"""
    done = run("new", "sbox", "--net=isolated", "--count=0", "--socket", "./x.sock", "--graceful-shutdown=false", "--drop", "0.0.0.0/0",
        "--allow", "10.0.0.1:53", "--ssh-key", "ssh-ed25519 AAA \"q\"")
    text = done.stdout.decode()
    for part in ("config:\n", "  graceful_shutdown: false\n", "  - name: sbox\n", "    count: 0\n", "      mode: isolated\n",
        '      drop: ["0.0.0.0/0"]\n', '      allow: ["10.0.0.1:53"]\n',
                 '    bind_address: "./x.sock"\n', '  - "ssh-ed25519 AAA \\"q\\""\n'):
        assert part in text, (part, text)
    assert run("new", "No").returncode == 2 and run("new", "--net", "x").returncode == 2 and run("new", "--net", "macvtap", "--allow", "1.1.1.1").returncode == 2


failed = 0
cases = [(n, f) for n, f in sorted(globals().items()) if n.startswith("case_" + "".join(sys.argv[2:3]))]
for number, (name, case) in enumerate(cases, 1):
    try:
        case()
        print("ok %d - %s" % (number, case.__doc__), flush=True)
    except Exception as e:  # one bad case must not hide the others
        failed += 1
        import traceback
        where = traceback.extract_tb(e.__traceback__)[-1].lineno
        print("not ok %d - %s\n# line %d, %s: %s" % (number, case.__doc__, where, type(e).__name__, str(e)[:2000].replace("\n", "\n# ")), flush=True)
print("1..%d" % len(cases))
shutil.rmtree(top, ignore_errors=True)
sys.exit(1 if failed else 0)
