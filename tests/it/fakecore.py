"""A stand-in for core, for tests of front without KVM: groups and VMs in a dict, agent streams from a real agent on a unix socket."""
import hashlib
import os
import random
import select
import socket
import subprocess
import tempfile
import threading
import time

from frames import start

OK, ERR, ITEM, LISTEN, LOCAL = 2, 1, 31, 16, 26
(INFO, AUTH, GROUPS, NODES, CREATE, DELETE, DESCRIBE, LOGS, SHUTDOWN, CONNECT, PAUSE, RESUME, RELAUNCH, TAGS, DAEMON_SHUTDOWN,
 READY) = range(32, 48)
TAG_NAMES = """AUTH LISTENER NAME AUTH_NEEDED VERSION GIT_COMMIT ARCH COUNT RAM_BYTES CPUS GROUP VM TAG TAG_PREFIX PERSISTENT USERDATA SSH_KEY IP
 NET_ALLOW NET_DROP NET_SET_ALLOW NET_SET_DROP WAIT TIMEOUT_MS SECRET CREATED_NS LAST_CALL_NS STATUS STORAGE IMAGE NET_MODE OPEN_CONNS
 DISK_REMOVED ACTION PORT QUIET ADD REMOVE REPLACE REPLACE_ALL TAG_NAME READY TEXT FAULT GROUP_ALLOW GROUP_DROP GPU_COUNT""".split()
T = {name: 16 + i for i, name in enumerate(TAG_NAMES)}
T.update(ERR_STATUS=1, ERR_TEXT=2, LOCAL=384)
TLS = 17
T.update(TLS=81, CERT=82, KEY=83, FINGERPRINT=84, NOW_S=85)


class Refused(Exception):
    def __init__(self, status, text):
        self.status, self.text = status, text


class FakeCore:
    """listeners: list of (listening socket, auth needed); the first is the local users', the third one with TLS. Everything asked is kept in .asked as (kind, Msg)."""

    def __init__(self, chan, listeners, token, agent_path, log_path):
        self.chan, self.token, self.agent_path, self.log_path = chan, token, agent_path, log_path
        self.asked, self.streams = [], []
        self.vms = {"demo-1": dict(group="demo", tags=["job=7", "owner=alex"], status="Running")}
        self.auth_needed = {i: need for i, (_, need) in enumerate(listeners)}
        self.agent_down = False
        self.silent = set()  # kinds that are not answered
        self.hold = None  # an event: C_CONNECT is answered when it is set
        self.relay = None  # set to a function(stream) → fd given out instead of the agent's own
        chan.send(TLS, [(T["NAME"], "localhost"), (T["NAME"], "127.0.0.1"), (T["NOW_S"], int(time.time()))], ident=9)
        self.identity = chan.recv()
        self.locals = {}  # number → its connection, of which front has the other descriptor
        threading.Thread(target=self.accept, args=[listeners[0][0]], daemon=True).start()
        for i, (sock, need) in list(enumerate(listeners))[1:]:
            chan.send(LISTEN, [(T["LISTENER"], i), (T["NAME"], "l%d" % i), (T["AUTH_NEEDED"], int(need)), (T["TLS"], int(i == 2))],
                      ident=0, fds=[sock.fileno()])
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def accept(self, listener):
        """Local users: a number for each connection that is open."""
        poll, by_fd = select.poll(), {}
        poll.register(listener, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    sock, ident = listener.accept()[0], random.getrandbits(64)
                    by_fd[sock.fileno()], self.locals[ident] = ident, sock
                    poll.register(sock, 0)
                    try:
                        self.chan.send(LOCAL, [(T["LOCAL"], ident)], ident=0, fds=[sock.fileno()])
                    except OSError:
                        return
                else:
                    poll.unregister(fd)
                    self.locals.pop(by_fd.pop(fd)).close()

    def serve(self):
        self.chan.sock.settimeout(None)
        while True:
            try:
                m = self.chan.recv()
            except (OSError, EOFError, AssertionError):
                return
            if m is None:
                return
            self.asked.append(m)
            if m.kind in self.silent or m.kind in (OK, ERR):  # the latter: answers to C_TLS
                continue
            try:
                self.check(m)
                if m.kind == CONNECT and self.hold:
                    self.hold.wait(10)
                fields, fds = self.answer(m)
                self.chan.send(OK, fields, ident=m.id, fds=fds)
                for fd in fds:
                    os.close(fd)
            except Refused as why:
                self.chan.send(ERR, [(T["ERR_STATUS"], why.status), (T["ERR_TEXT"], why.text)], ident=m.id)

    def needs_token(self, m):
        local = m.num(T["LOCAL"])
        return self.auth_needed[m.num(T["LISTENER"])] if local is None else local not in self.locals

    def check(self, m):
        want = hashlib.sha256(self.token.encode()).digest()
        if self.needs_token(m) and m.get(T["AUTH"]) != want:
            raise Refused(401, "the token is wrong")

    def vm(self, m):
        name = m.text(T["VM"])
        if name not in self.vms:
            raise Refused(404, "no VM has that name")
        return name

    def node(self, name, with_prefix=False):
        vm = self.vms[name]
        ip = "192.168.137.2/24" if with_prefix else "192.168.137.2/24"
        return [(T["VM"], name), (T["GROUP"], vm["group"]), (T["IP"], ip), (T["RAM_BYTES"], 1 << 30), (T["CPUS"], 1),
                (T["CREATED_NS"], 1788256800123456789), (T["ARCH"], "x86_64"), (T["STATUS"], vm["status"]),
                (T["PERSISTENT"], 0)] + [(T["TAG"], t) for t in vm["tags"]]

    def connect(self):
        if self.agent_down:
            raise Refused(503, "the agent does not answer")
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(self.agent_path)
        except OSError:
            raise Refused(503, "the agent does not answer")
        self.streams.append(s.fileno())
        return s.detach()

    def answer(self, m):
        kind, fds = m.kind, []
        if kind == INFO:
            return [(T["VERSION"], "0.1.0"), (T["GIT_COMMIT"], "abc"), (T["ARCH"], "amd64")], fds
        if kind in (AUTH, DAEMON_SHUTDOWN):
            return [], fds
        if kind == GROUPS:
            self.chan.send(ITEM, [(T["NAME"], "demo"), (T["COUNT"], 1), (T["RAM_BYTES"], 4 << 30), (T["CPUS"], 2), (T["ARCH"], "x86_64")], ident=m.id)
            return [], fds
        if kind == NODES:
            if m.text(T["GROUP"]) not in (None, "demo"):
                raise Refused(404, "no host group has that name")
            for name, vm in self.vms.items():
                if m.text(T["TAG"]) is None or m.text(T["TAG"]) in vm["tags"]:
                    self.chan.send(ITEM, self.node(name), ident=m.id)
            return [], fds
        if kind == CREATE:
            if (m.num(T["CPUS"]) or 1) > 2:
                raise Refused(400, "cpus exceeds host group limit")
            name = "demo-%d" % (len(self.vms) + 1)
            self.vms[name] = dict(group="demo", tags=m.all(T["TAG"]), status="Running")
            return self.node(name), fds
        name = self.vm(m)
        if kind == DELETE:
            del self.vms[name]
            return [(T["TEXT"], "deleted"), (T["DISK_REMOVED"], 1)], fds
        if kind == DESCRIBE:
            return self.node(name) + [(T["STORAGE"], "image"), (T["IMAGE"], "min"), (T["NET_MODE"], "bridge"), (T["OPEN_CONNS"], 2),
                                      (T["GROUP_ALLOW"], "0.0.0.0/0"), (T["NET_SET_ALLOW"], 1)], fds
        if kind == LOGS:
            return [], [os.open(self.log_path, os.O_RDONLY)]
        if kind == SHUTDOWN:
            self.vms[name]["status"] = "Stopped"
            return [(T["TEXT"], "stopped (%s)" % m.text(T["ACTION"]))], fds
        if kind in (PAUSE, RESUME):
            self.vms[name]["status"] = "Paused" if kind == PAUSE else "Running"
            return [(T["TEXT"], "ok")], fds
        if kind == RELAUNCH:
            return self.node(name), fds
        if kind == TAGS:
            return [(T["TAG"], t) for t in self.vms[name]["tags"]], fds
        if kind == CONNECT:
            if self.vms[name]["status"] != "Running":
                raise Refused(409, "the VM is " + self.vms[name]["status"].lower())
            return [], [self.connect()]
        raise Refused(501, "not in this core")


class Rig:
    """front, an agent, and a fake core between them, in a folder of their own."""

    def __init__(self, front_path, agent_path, token="secret"):
        self.dir = tempfile.mkdtemp(prefix="mica-front-")
        self.agent_sock = os.path.join(self.dir, "agent.sock")
        self.api_sock = os.path.join(self.dir, "api.sock")
        self.log_path = os.path.join(self.dir, "console.log")
        with open(self.log_path, "w") as f:
            f.write("".join("line %d\n" % i for i in range(1, 101)))
        self.agent = subprocess.Popen([agent_path, "--listen", "unix:" + self.agent_sock, "--hello", "none", "--prefix", self.dir],
                                      stdin=subprocess.DEVNULL)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(self.api_sock)
        unix.listen(1024)
        tcp = socket.socket(socket.AF_INET)
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(1024)
        self.tcp_address = tcp.getsockname()
        tls = socket.socket(socket.AF_INET)
        tls.bind(("127.0.0.1", 0))
        tls.listen(1024)
        self.tls_address = tls.getsockname()
        self.token = token
        own_user = ["--uid", "1835597825", "--gid", "1835597825"] if os.getuid() == 0 else []
        self.front, chan = start([front_path, *own_user], stdin=subprocess.DEVNULL)
        self.core = FakeCore(chan, [(unix, False), (tcp, True), (tls, False)], token, self.agent_sock, self.log_path)
        end = time.monotonic() + 5
        while not os.path.exists(self.agent_sock) and time.monotonic() < end:
            time.sleep(0.01)

    def close(self):
        self.core.chan.sock.shutdown(socket.SHUT_RDWR)
        try:
            code = self.front.wait(5)
        except subprocess.TimeoutExpired:
            self.front.kill()
            code = "front did not end with its core"
        self.agent.kill()
        self.agent.wait()
        subprocess.call(["rm", "-rf", self.dir])
        return code
