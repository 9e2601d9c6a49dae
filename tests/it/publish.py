#!/usr/bin/env python3
"""publish.py BIN-FOLDER AGENT [WORD...]: published ports: real core, front and agents (stack.py). A "guest's" services are this test's own.
Bytes both ways and to their end, many at once, what ends with the VM, what comes back with it and with the daemon, what is refused. TAP."""
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, wait_for  # noqa: E402
from frames import Tap  # noqa: E402
from stack import Stack, free_port  # noqa: E402

tap = Tap()
MIB = 1 << 20
BLOCK = bytes(range(256)) * 256  # 64 KiB
BIG = 48 * MIB

CONFIG = """config:
  host_groups:
  - {name: demo, count: 0, vcpu: 2, ram_mb: 1024, storage_size: 4M, network: {mode: none}}
  - {name: web, count: 1, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {mode: none}, publish: ["PUBLIC:GUEST"]}
  api:
    port: %(port)d
    tls: {enabled: %(tls)s}
"""


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


class Service:
    """Listens where a guest's program would; work(connection) runs in a thread for each."""

    def __init__(self, work, path=None):
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.sock.bind(path or ("127.0.0.1", 0))
        self.sock.listen(512)
        self.port = None if path else self.sock.getsockname()[1]
        self.work, self.sent = work, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            conn = self.sock.accept()[0]
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        try:
            with conn:
                self.work(self, conn)
        except OSError:
            pass


def digest(_, conn):
    """Reads to the end, then tells what it was: only possible when halves end by themselves."""
    h = hashlib.sha256()
    while data := conn.recv(65536):
        h.update(data)
    conn.sendall(h.hexdigest().encode())


def echo(_, conn):
    while data := conn.recv(65536):
        conn.sendall(data)


def source(self, conn):
    """Greets at once, then says BIG bytes, whether they are read or not."""
    conn.sendall(b"hello\n")
    for _ in range(BIG // len(BLOCK)):
        conn.sendall(BLOCK)
        self.sent += len(BLOCK)


def read_all(s):
    out = bytearray()
    while data := s.recv(65536):
        out += data
    return bytes(out)


def dial(port, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout=30)


def ends(port, say=b"x"):
    """What a client sees that is refused: "reset", "end", or "no listener"."""
    try:
        with dial(port) as s:
            s.sendall(say)
            return "end" if s.recv(10) == b"" else "data"
    except ConnectionResetError:
        return "reset"
    except BrokenPipeError:
        return "reset"
    except ConnectionRefusedError:
        return "no listener"


def answers(port):
    try:
        with dial(port) as s:
            s.sendall(b"ping")
            s.shutdown(socket.SHUT_WR)
            return read_all(s) == b"ping"
    except OSError:
        return False


class World:
    def __init__(self, bin_folder, agent):
        self.digest, self.echo, self.source = Service(digest), Service(echo), Service(source)
        self.web = free_port()
        self.stack = Stack(bin_folder, agent, config=CONFIG.replace("PUBLIC", str(self.web)).replace("GUEST", str(self.echo.port)))
        self.api = Api(self.stack.unix)

    def create(self, *publish, wait=True, api=None, **more):
        status, _, body = (api or self.api).call("POST", "/hostgroup/demo/nodes" + ("?wait=agent" if wait else ""), dict(more, publish=list(publish)))
        return status, json.loads(body)

    def launch(self, *publish, **more):
        status, node = self.create(*publish, **more)
        if status != 201:
            raise AssertionError("no VM: %d %s" % (status, node))
        return node["hostname"]

    def delete(self, vm):
        return self.api.call("DELETE", "/hostgroup/demo/nodes/" + vm)[0]

    def metric(self, name):
        text = self.api.call("GET", "/metrics")[2].decode()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))

    def refusals(self):
        return self.metric('mica_published_connections_total{result="refused"}')


# ---- bytes ----

def case_bytes(w):
    ports = [free_port() for _ in range(3)]
    vm = w.launch("%d:%d" % (ports[0], w.digest.port), "127.0.0.1:%d:%d" % (ports[1], w.source.port), "%d:127.0.0.1:%d" % (ports[2], w.echo.port))
    with dial(ports[0]) as s:
        h = hashlib.sha256()
        for _ in range(8 * MIB // len(BLOCK)):
            s.sendall(BLOCK)
            h.update(BLOCK)
        s.shutdown(socket.SHUT_WR)
        same(read_all(s).decode(), h.hexdigest(), "8 MiB into the guest, whose answer comes after their end: the other half stays open")
    with dial(ports[1]) as s:
        same(hashlib.sha256(read_all(s)).hexdigest(), hashlib.sha256(b"hello\n" + BLOCK * (BIG // len(BLOCK))).hexdigest(),
             "%d MiB out of the guest, which speaks first" % (BIG >> 20))
    with dial(ports[2]) as s:
        got = []
        reader = threading.Thread(target=lambda: got.append(read_all(s)))
        reader.start()
        for _ in range(8 * MIB // len(BLOCK)):
            s.sendall(BLOCK)
        s.shutdown(socket.SHUT_WR)
        reader.join(60)
        tap.ok(got == [BLOCK * (8 * MIB // len(BLOCK))], "8 MiB there and back at once")
    w.source.sent = 0
    with dial(ports[1]) as s:
        wait_for(lambda: w.source.sent, 20)
        seen = -1
        while seen != w.source.sent:
            seen = w.source.sent
            select.select([], [], [], 1)
        tap.ok(0 < seen < BIG, "who does not read is not sent everything: the guest waits after %d KiB" % (seen >> 10))
        same(len(read_all(s)), BIG + 6, "… and loses nothing")
    same(w.delete(vm), 200, "deleted")
    same([ends(p) for p in ports], ["no listener"] * 3, "nobody listens there any more")


def case_many(w):
    port = free_port()
    vm = w.launch("%d:%d" % (port, w.echo.port))
    socks = [dial(port) for _ in range(100)]
    texts = [hashlib.sha256(b"%d" % i).digest() * 2000 for i in range(len(socks))]
    for s, t in zip(socks, texts):
        s.sendall(t)
    wait_for(lambda: w.metric("mica_published_connections") == len(socks), 30)
    same(w.metric("mica_published_connections"), len(socks), "100 connections are open at once")
    for s in socks:
        s.shutdown(socket.SHUT_WR)
    tap.ok(all(read_all(s) == t for s, t in zip(socks, texts)), "each of them gets its own 64 000 bytes back")
    for s in socks:
        s.close()
    tap.ok(wait_for(lambda: w.metric("mica_published_connections") == 0, 20) is True, "and none is left")
    w.delete(vm)


def case_full(w):
    port, other = free_port(), free_port()
    vm = w.launch("%d:%d" % (port, w.echo.port), "%d:%d" % (other, w.echo.port))
    socks = []
    for i in range(384):
        socks.append(dial((port, other)[i % 2]))
        socks[-1].sendall(b"%03d" % i)
    tap.ok([s.recv(3) for s in socks] == [b"%03d" % i for i in range(384)], "384 connections into a VM")
    before = w.metric('mica_published_connections_total{result="full"}')
    same((ends(port), ends(other), w.metric('mica_published_connections_total{result="full"}') - before), ("reset", "reset", 2), "one more is reset, and counted")
    same(w.api.run(vm, "echo", ["there"])[1], b"there\n", "its owner still reaches it")
    same(answers(w.web), True, "and others reach other VMs")
    for s in socks:
        s.close()
    tap.ok(wait_for(lambda: answers(port), 20) is True, "room again")
    w.delete(vm)


def case_places(w):
    path = os.path.join(w.stack.dir, "service.sock")
    Service(echo, path)
    os.chmod(path, 0o777)
    port, six = free_port(), free_port()
    vm = w.launch("%d:%s" % (port, path), "[::1]:%d:%d" % (six, w.echo.port))
    tap.ok(answers(port), "to a unix socket in the guest")
    try:
        with socket.create_connection(("::1", six), timeout=30) as s:
            s.sendall(b"six")
            same(s.recv(10), b"six", "listens on an IPv6 address")
    except OSError as why:
        tap.ok(False, "listens on an IPv6 address: %s" % why)
    same(ends(six), "no listener", "and on no other")
    status, node = w.create("192.0.2.7:%d:80" % free_port())
    tap.ok(status == 400 and "no address of this host" in node["error"], "an address that is not there: %s" % node)
    node = w.api.get("/vm/" + vm)
    want = ["127.0.0.1:%d:%s" % (port, path), "[::1]:%d:%d" % (six, w.echo.port)]
    same((node["publish"], "publish_faults" in node), (want, False), "describe shows what is published")
    same([n.get("publish") for n in w.api.get("/nodes") if n["hostname"] == vm], [want], "the list too")
    w.delete(vm)


# ---- the VM's life ----

def case_life(w):
    port, deaf = free_port(), free_port()
    vm = w.launch("%d:%d" % (port, w.echo.port), "%d:%d" % (deaf, free_port()), persistent=True)
    before = w.refusals()
    same((ends(deaf), w.refusals()), ("reset", before + 1), "nobody listens in the guest: reset, and counted")
    held = dial(port)
    held.sendall(b"a")
    same(held.recv(1), b"a", "a connection stands")
    same(w.api.call("POST", "/vm/%s/pause" % vm)[0], 200, "paused")
    same(ends(port), "reset", "a new connection to a paused VM is reset")
    same(w.api.call("POST", "/vm/%s/resume" % vm)[0], 200, "resumed")
    held.sendall(b"b")
    same(held.recv(1), b"b", "the one from before goes on")
    tap.ok(answers(port), "and new ones are served")
    same(w.api.call("POST", "/vm/%s/shutdown" % vm, {"action": "shutdown"})[0], 200, "stopped")
    same(ends(port), "reset", "a new connection to a stopped VM is reset")
    try:
        held.settimeout(20)
        same(held.recv(1), b"", "the one from before has ended")
    except ConnectionResetError:
        tap.ok(True, "the one from before has ended")
    same(w.api.call("POST", "/vm/%s/relaunch?wait=agent" % vm)[0], 200, "launched again")
    tap.ok(answers(port), "its port is served again")
    held = dial(port)
    held.sendall(b"c")
    held.recv(1)
    same(w.delete(vm), 200, "deleted")
    try:
        held.settimeout(20)
        same(held.recv(1), "a reset", "a connection ends with the VM")
    except ConnectionResetError:
        tap.ok(True, "a connection ends with the VM")
    same(ends(port), "no listener", "and its socket")


def case_restart(w):
    port, lost = free_port(), free_port()
    vm = w.launch("%d:%d" % (port, w.echo.port), "%d:%d" % (lost, w.echo.port))
    tap.ok(answers(port) and answers(lost) and answers(w.web), "two VMs publish, one by its group")
    held = dial(port)
    held.sendall(b"a")
    held.recv(1)
    w.stack.crash()
    same(held.recv(1), b"", "the daemon is killed: its connections end")
    thief = socket.socket()
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    thief.bind(("127.0.0.1", lost))
    thief.listen(1)
    w.stack.start()
    tap.ok(wait_for(lambda: answers(port) and answers(w.web), 20) is True, "after it is back both are served")
    tap.ok(wait_for(lambda: w.api.get("/vm/" + vm).get("publish_faults"), 20) is not None, "a port that was taken meanwhile is told: %s"
           % w.api.get("/vm/" + vm).get("publish_faults"))
    status = w.stack.status
    text = "\n".join(w.stack.lines).encode()
    while b"tried again" not in text and select.select([status], [], [], 10)[0]:
        text += os.read(status, 65536)
    tap.ok(b"NOTE %s: publish '127.0.0.1:%d" % (vm.encode(), lost) in text, "and noted: %r" % text)
    thief.close()
    tap.ok(wait_for(lambda: answers(lost), 20) is True, "once it is free it is served")
    tap.ok("publish_faults" not in w.api.get("/vm/" + vm), "and nothing is told any more")
    w.delete(vm)
    same(ends(port), "no listener", "an adopted VM's port ends with it")


# ---- refusals ----

def case_refused(w):
    port, taken = free_port(), socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    before = len(w.api.get("/nodes"))
    for text in ("80", "", ":80:80", "x:80", "8080:", "8080:x", "0:80", "8080:0", "70000:80", "8080:70000", "1.2.3:8080:80", "[::1:8080:80", "[::1]8080:80",
                 "localhost:8080:80", "/run/x.sock:80", "8080:relative/x.sock", "8080:80:90", "8080:/" + "x" * 108, "8080:80 ", "127.0.0.1:8080", "8080:/a\nb"):
        status, node = w.create(text)
        tap.ok(status == 400 and "publish" in node["error"], "no port: %r: %s" % (text[:30], node))
    same(w.create("%d:80" % port, "0.0.0.0:%d:81" % port)[0], 400, "one port twice in a list")
    same(w.create(*["%d:80" % (20000 + i) for i in range(33)])[0], 400, "more than a VM may have")
    same([w.api.call("POST", "/hostgroup/demo/nodes", {"publish": v})[0] for v in ("8080:80", 5, [5], {"a": 1})], [400] * 4, "no list of texts")
    status, node = w.create("%d:80" % taken.getsockname()[1])
    tap.ok(status == 409 and "another program" in node["error"], "a port of another program: %s" % node)
    status, node = w.create("%d:80" % w.stack.port)
    tap.ok(status == 409 and "API" in node["error"], "the API's own: %s" % node)
    status, node = w.create("%d:80" % w.web)
    tap.ok(status == 409 and "'web-1'" in node["error"], "another VM's: %s" % node)
    status, node = w.create("%d:80" % port, "0.0.0.0:%d:80" % w.web)
    tap.ok(status == 409 and "'web-1'" in node["error"], "also under an address that covers it: %s" % node)
    same(ends(port), "no listener", "of a creation that was refused nothing listens")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
        if int(f.read()) > 81:
            status, node = w.create("81:80")
            tap.ok(status == 400 and "ip_unprivileged_port_start" in node["error"], "a port that needs rights: %s" % node)
        else:
            tap.ok(True, "ports below 1024 # SKIP this host gives them to everybody")
    same(len(w.api.get("/nodes")), before, "no VM came of it")
    first = w.launch("%d:%d" % (port, w.echo.port), wait=False)
    same(w.create("%d:80" % port)[0], 409, "the first keeps its port")
    tap.ok(wait_for(lambda: answers(port), 20) is True, "and serves it")
    same(w.delete(first), 200, "it goes")
    second = w.launch("%d:%d" % (port, w.echo.port))
    tap.ok(answers(port), "then another may have it")
    w.delete(second)
    taken.close()


def case_rights(w):
    port = free_port()

    def token(name, scopes):
        return json.loads(w.api.call("POST", "/tokens", {"name": name, "scopes": scopes})[2])["token"]

    makes, joins = Api(w.stack.tcp, token("makes", ["vm"])), Api(w.stack.tcp, token("joins", ["vm", "net"]))
    status, node = w.create("%d:80" % port, api=makes)
    tap.ok(status == 403 and "'net'" in node["error"], "who may not forward may not publish: %s" % node)
    status, node = w.create("%d:%d" % (port, w.echo.port), api=joins)
    same(status, 201, "who may both may")
    with dial(port) as s:
        s.sendall(b"no token")
        same(s.recv(20), b"no token", "a client of the port shows none")
    w.delete(node["hostname"])


def case_words(w):
    port, other = free_port(), free_port()
    mica = [os.path.join(w.stack.bin, "mica")]

    def run(*words):
        return subprocess.run(mica + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, MICA_SOCKET=w.stack.unix))

    done = run("vm", "launch", "demo", "-p", "%d:%d" % (port, w.echo.port), "--publish", "%d:/run/x.sock" % other, "--ram-mb", "64", "--wait")
    vm = next((line.split()[1] for line in done.stdout.splitlines() if "Hostname:" in line), "?")
    tap.ok(done.returncode == 0 and "Published:  127.0.0.1:%d:%d\n" % (port, w.echo.port) in done.stdout and answers(port), "vm launch --publish: %s" % done)
    text = run("vm", "describe", vm).stdout
    tap.ok(text.count("Published:") == 2 and "127.0.0.1:%d:/run/x.sock" % other in text, "vm describe: %r" % text)
    text = run("new", "a", "--publish", "9000:80", "--publish", "[::1]:9001:/run/x.sock").stdout
    tap.ok('    publish: ["9000:80", "[::1]:9001:/run/x.sock"]\n' in text, "new --publish")
    done = run("vm", "launch", "demo", "-p", "%d:80" % port)
    tap.ok(done.returncode == 1 and "VM '%s' has that port" % vm in done.stderr, "vm launch with a port that is taken: %s" % done.stderr)
    status = [run("group", "create", "pub", "--count", str(n), "--ram-mb", "64", "--storage-size", "4M", "--net", "none", "--publish",
                  "%d:%d" % (port if n == 2 else free, w.echo.port)).returncode for n, free in ((0, port), (2, port))]
    same(status, [1, 1], "group create --publish: for one VM, no more and no less")
    status, _, text = w.api.call("POST", "/hostgroup", {"name": "pub", "count": 1, "ram_mb": 64, "storage_size": "4M", "network": {"mode": "none"},
                                                        "publish": ["%d:1" % w.web]})
    tap.ok(status == 409 and b"group 'web'" in text, "a group with another's port: %r" % text)
    new = free_port()
    done = run("group", "create", "pub", "--count", "1", "--ram-mb", "64", "--storage-size", "4M", "--net", "none", "--publish", "%d:%d" % (new, w.echo.port))
    tap.ok(done.returncode == 0 and wait_for(lambda: answers(new), 20) is True, "a group's VM is published: %s" % done.stderr)
    newer = free_port()
    done = run("group", "update", "pub", "--publish", "%d:%d" % (newer, w.echo.port))
    tap.ok(done.returncode == 0 and wait_for(lambda: answers(newer), 20) is True and ends(new) == "no listener", "it follows its group: %s" % done.stderr)
    done = run("group", "update", "pub", "--count", "0", "--unset", "publish")
    tap.ok(done.returncode == 0, "the group keeps none: %s" % done.stderr)
    w.delete(vm)


def case_config(w):
    head = "config:\n  host_groups:\n"
    one = "  - {name: a, count: 1, ram_mb: 64, network: {mode: none}, publish: [\"%s\"]}\n"
    two = "  - {name: b, count: 1, ram_mb: 64, network: {mode: none}, publish: [\"%s\"]}\n"
    rows = [(head + one % "9000:80", None), (head + one % "8080:80", "API"), (head + one % "0.0.0.0:8080:80", "API"), (head + one % "x", "PORT:GUEST-PORT"),
            (head + (one % "9000:80").replace("count: 1", "count: 2"), "count: 1"), (head + (one % "9000:80").replace("count: 1", "count: 0"), "--publish"),
            (head + one % "9000:80" + two % "9000:81", "group 'a'"), (head + one % "127.0.0.1:9000:80" + two % "[::1]:9000:81", None)]
    for i, (text, want) in enumerate(rows):
        path = os.path.join(w.stack.dir, "config-%d.yaml" % i)
        with open(path, "w") as f:
            f.write(text)
        p = subprocess.run(["bash", "-c", 'exec 8>&1; exec "$@"', "x", os.path.join(w.stack.bin, "core"), "--check", "--config", path],
                           stdout=subprocess.PIPE, text=True)
        if want is None:
            same((p.returncode, "FATAL" in p.stdout), (0, False), "file %d is fine: %s" % (i, p.stdout.strip()))
        else:
            tap.ok(p.returncode == 1 and want in p.stdout and path + ":3" in p.stdout.replace(":4:", ":3:"), "file %d is refused: %s" % (i, p.stdout.strip()))


def main():
    w = World(os.path.abspath(sys.argv[1]), sys.argv[2])
    try:
        for name, fn in list(globals().items()):
            if name.startswith("case_") and (len(sys.argv) < 4 or any(word in name for word in sys.argv[3:])):
                try:
                    fn(w)
                except Exception:
                    tap.ok(False, name + " ran to its end")
                    print("# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
    finally:
        codes = w.stack.close()
    tap.ok(codes == [0, 0], "core and front ended well: %s" % codes)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
