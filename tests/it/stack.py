#!/usr/bin/env python3
"""The daemon of real parts, without KVM: real core, real front, one real agent per VM as a process of this host. Made up are netd, gate,
jail and, in this file's second half, the vmm: it answers core's frames, joins streams to its agent, stops and goes on by signal.
For tests: Stack(bin folder, agent) … .unix .tcp .token .fingerprint … close()."""
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import ERR, OK, STATUS, TEXT, Chan, frame  # noqa: E402

J_SPAWN, J_KILL, J_ADOPT, J_EXITED, J_NETNS, J_DNS = 16, 17, 18, 19, 21, 22
J_NETNS_FDS = 6
N_TAP_UP, N_ISO_UP = 18, 25
J_TAP = 23
G_VM_UP, GT_FD_LOG = 16, 30
JT_NAME, JT_PID, JT_STATUS = 16, 20, 21
(V_HELLO, V_BOOT, V_CONNECT, V_LISTEN, V_INCOMING, V_PAUSE, V_RESUME, V_STATS, V_QUIT, V_EXITED) = range(16, 26)
(VT_VERSION, VT_STATE, VT_VCPUS, VT_RAM, VT_CMDLINE, VT_KERNEL, VT_INITRD, VT_CONSOLE, VT_REPORT) = range(16, 25)
VT_PORT, VT_GUEST_PORT, VT_REASON, VT_TEXT, VT_STAT, VT_NAME, VT_VALUE = range(32, 39)
V_RESIZE = 28
V_NET, VT_HEAL, VT_NET_VALUES = 40, 65, range(66, 74)
A_SHUTDOWN, AT_ACTION = 17, 21

CONFIG = """config:
  host_groups:
  - {name: demo, count: 0, vcpu: 2, ram_mb: 1024, storage_size: 4M, network: {bridge: brdemo, gateway: 10.77.1.1/24}}
  - {name: fixed, count: 1, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {bridge: brfixed, gateway: 10.77.2.1/24}}
  - {name: none, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  - {name: iso, count: 0, vcpu: 1, ram_mb: 1024, storage_size: 4M, network: {mode: isolated, range: 169.254.100.0/22, allow: [192.0.2.0/24]}}
  api:
    port: %(port)d
    tls: {enabled: %(tls)s}
"""


# ---- the made-up jail and netd: threads ---------------------------------------------------------------------------

class Jail(threading.Thread):
    def __init__(self, stack, chan, vmms=None):
        super().__init__(daemon=True)
        self.stack, self.chan, self.vmms, self.lock = stack, chan, {} if vmms is None else vmms, threading.Lock()
        chan.sock.settimeout(None)
        self.start()

    def run(self):
        while True:
            try:
                m = self.chan.recv()
            except OSError:
                return
            if m is None:
                return
            self.serve(m)
            for fd in m.fds:
                os.close(fd)

    def answer(self, kind, fields, ident, fds=()):
        with self.lock:
            try:
                self.chan.send(kind, fields, ident=ident, fds=fds)
            except OSError:
                pass

    def serve(self, m):
        name = m.text(JT_NAME)
        if m.kind == J_SPAWN:
            p = self.stack.spawn(name, m.fds[0])
            self.vmms[name] = p
            pidfd = os.pidfd_open(p.pid)
            self.answer(OK, [(JT_PID, p.pid)], m.id, [pidfd])
            os.close(pidfd)
            threading.Thread(target=self.reap, args=(name, p), daemon=True).start()
        elif m.kind == J_TAP:
            r, w = os.pipe()
            self.answer(OK, [], m.id, [r])
            os.close(r)
            os.close(w)
        elif m.kind == J_NETNS:
            ends = [end for _ in range(J_NETNS_FDS // 2) for end in socket.socketpair()]
            self.answer(OK, [], m.id, [s.fileno() for s in ends])
            for s in ends:
                s.close()
        elif m.kind == J_DNS:
            ends = socket.socketpair()
            self.answer(OK, [], m.id, [s.fileno() for s in ends])
            for s in ends:
                s.close()
        elif m.kind == J_KILL and name in self.vmms:
            kill_tree(self.vmms[name].pid)
            self.answer(OK, [], m.id)
        elif m.kind == J_ADOPT and name in self.vmms:
            pidfd = os.pidfd_open(self.vmms[name].pid)
            self.answer(OK, [], m.id, [pidfd])
            os.close(pidfd)
        else:
            self.answer(ERR, [(STATUS, 404), (TEXT, "unknown")], m.id)

    def reap(self, name, p):
        code = p.wait()
        if self.vmms.get(name) is p:
            del self.vmms[name]
        self.answer(J_EXITED, [(JT_NAME, name), (JT_STATUS, (1 << 8) + code if code >= 0 else (2 << 8) - code)], 0)


class Netd(threading.Thread):
    """Agrees to everything; a tap is one end of a pipe."""

    def __init__(self, chan):
        super().__init__(daemon=True)
        self.chan = chan
        chan.sock.settimeout(None)
        self.start()

    def run(self):
        while True:
            try:
                m = self.chan.recv()
                if m is None:
                    return
                if m.kind in (N_TAP_UP, N_ISO_UP):
                    r, w = os.pipe()
                    self.chan.send(OK, [], ident=m.id, fds=[r])
                    os.close(r)
                    os.close(w)
                else:
                    self.chan.send(OK, [], ident=m.id)
                for fd in m.fds:
                    os.close(fd)
            except OSError:
                return


class Gate(threading.Thread):
    """Agrees to everything; of each VM it records a denial and a gap."""

    def __init__(self, chan):
        super().__init__(daemon=True)
        self.chan = chan
        chan.sock.settimeout(None)
        self.start()

    def run(self):
        while True:
            try:
                m = self.chan.recv()
                if m is None:
                    return
                if m.kind == G_VM_UP and m.num(GT_FD_LOG) is not None:
                    name = m.text(16)
                    for line in ({"event": "denied", "proto": "tcp", "src": "169.254.100.2", "dst": "192.0.2.1", "sport": 40000, "dport": 80, "rule": "default:deny",
                                  "verdict": "denied"}, {"event": "gap", "lost": 3, "why": "made up"}):
                        os.write(m.fds[m.num(GT_FD_LOG)], (json.dumps(dict({"time": "2026-09-01T10:00:00Z", "vm": name}, **line)) + "\n").encode())
                self.chan.send(OK, [], ident=m.id)
                for fd in m.fds:
                    os.close(fd)
            except OSError:
                return


def descendants(pid):
    """Of one look at /proc; a process's children stay its vmm's when it ends (a subreaper)."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    state, parent = f.read().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(name)] = int(parent)
    found, new = set(), {pid}
    while new:
        found |= new
        new = {p for p, parent in parents.items() if parent in new} - found
    return found - {pid}


def kill_tree(pid, itself=True):
    """A guest's processes are this host's: they end as with their machine, all of them."""
    if itself:
        try:
            os.kill(pid, signal.SIGSTOP)  # and makes no more
        except OSError:
            return
    for _ in range(100):
        left = descendants(pid)
        if not left:
            break
        for one in left:
            try:
                os.kill(one, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.01)
    if itself:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


# ---- the daemon ---------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


starting = threading.Lock()  # the numbers from 200 on are one start's at a time


def program(argv, fds, files_max=0, **kw):
    """argv with these descriptors as 3, 4, … (None: nothing there), and at most so many of them in all"""
    with starting:
        high = [os.dup2(fd, 200 + i, inheritable=True) for i, fd in enumerate(fds) if fd is not None]
        place = "; ".join(["exec %d<&%d-" % (3 + i, 200 + i) for i, fd in enumerate(fds) if fd is not None] + (["ulimit -n %d" % files_max] if files_max else []))
        p = subprocess.Popen(["bash", "-c", place + '; exec "$@"', "start", *argv], pass_fds=high, stdin=subprocess.DEVNULL, **kw)
        for fd in high:
            os.close(fd)
    return p


TEST_LIVES = os.pipe()  # a vmm outlives core, and jail by the force of a crash, but not the test: its descriptor 4 tells


class Stack:
    def __init__(self, bin_folder, agent, tls=False, front_words=(), config=CONFIG, front_files=0):
        self.dir = tempfile.mkdtemp(prefix="mica-stack-", dir="/var/tmp" if os.getuid() == 0 else None)
        os.chmod(self.dir, 0o755)
        self.bin, self.front_words, self.front_files = bin_folder, front_words, front_files
        self.agent, self.tls, self.port, self.jail = os.path.abspath(agent), tls, free_port(), None
        self.state = os.path.join(self.dir, "state")
        for name, data in (("mica.yaml", (config % dict(port=self.port, tls=str(tls).lower())).encode()), ("kernel", b"\x7fELF"), ("image", bytes(1 << 20))):
            with open(os.path.join(self.dir, name), "wb") as f:
                f.write(data)
        self.start()

    def start(self):
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(4)]
        status_r, status_w = os.pipe()
        files = [os.open(os.path.join(self.dir, n), os.O_RDONLY) for n in ("kernel", "image")]
        self.core = program([os.path.join(self.bin, "core"), "--config", os.path.join(self.dir, "mica.yaml"), "--state", self.state, "--flavour", "min"],
                            [p[0].fileno() for p in pairs[:3]] + files + [status_w, None, pairs[3][0].fileno()])
        own_user = ["--uid", "1835597825", "--gid", "1835597825"] if os.getuid() == 0 else []
        self.front = program([os.path.join(self.bin, "front"), *own_user, *self.front_words], [pairs[0][1].fileno()], self.front_files)
        for fd in files + [status_w]:
            os.close(fd)
        for ours, theirs in pairs:
            ours.close()
        pairs[0][1].close()
        self.jail, self.netd, self.gate = Jail(self, Chan(pairs[1][1]), self.jail and self.jail.vmms), Netd(Chan(pairs[2][1])), Gate(Chan(pairs[3][1]))
        try:
            self.lines = self.wait_ready(status_r)
        except AssertionError:
            for p in (self.core, self.front):
                p.kill()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        self.status = status_r  # core ends when nobody holds it
        self.unix = os.path.join(self.state, "api.sock")
        with open(os.path.join(self.state, "auth", "token")) as f:
            self.token = f.read().strip()
        self.fingerprint = next((w for line in self.lines for w in line.split() if w.count(":") == 31), None)
        self.tcp = ("127.0.0.1", self.port)

    def wait_ready(self, fd):
        text, end = "", time.monotonic() + 20
        while "READY" not in text:
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError("core is not ready: " + text)
            data = os.read(fd, 65536)
            if not data:
                raise AssertionError("core ended with %s: %s" % (self.core.wait(5), text))
            text += data.decode()
        return text.splitlines()

    def base(self, kind):
        return {"unix": "unix:" + self.unix, "http": "http://127.0.0.1:%d" % self.port, "https": "https://127.0.0.1:%d" % self.port}[kind]

    def spawn(self, name, fd):
        """A vmm in a folder of its own, which its agent may use too."""
        folder = os.path.join(self.dir, "vm", name + "-%d" % time.monotonic_ns())
        os.makedirs(folder)
        return program([sys.executable, os.path.abspath(__file__), self.agent, folder], [fd, TEST_LIVES[0]], start_new_session=True)

    def crash(self):
        """core is killed, and front ends with it; the VMs live on, and start() finds them again"""
        self.core.kill()
        self.core.wait()
        self.front.wait(10)
        os.close(self.status)

    def close(self):
        """Ends all; core's and front's exit codes."""
        self.core.terminate()
        codes = []
        for p in (self.core, self.front):
            try:
                codes.append(p.wait(10))
            except subprocess.TimeoutExpired:
                p.kill()
                codes.append("killed")
        for p in list(self.jail.vmms.values()):
            kill_tree(p.pid)
        os.close(self.status)
        shutil.rmtree(self.dir, ignore_errors=True)
        return codes


# ---- the made-up vmm: a process of its own ------------------------------------------------------------------------

def die_with_parent(parent):
    """In a child: jail may end the vmm by force, and a guest does not outlive its machine."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Vmm:
    """Its guest is an agent on this host. Streams are joined by handing core a connection to the agent's socket."""

    def __init__(self, listener, agent, folder):
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: whatever runs in the guest ends with it
        self.listener, self.folder, self.state = listener, folder, "new"
        self.core = self.process = self.report = None
        self.listens = False
        self.net = dict.fromkeys(VT_NET_VALUES, 0)
        self.agent_sock, self.hello_sock = folder + "/agent.sock", folder + "/hello.sock"
        self.hello_listener = socket.socket(socket.AF_UNIX)
        self.hello_listener.bind(self.hello_sock)
        self.hello_listener.listen(4)
        self.agent = agent
        self.hello, self.relay, self.rest = None, None, b""  # the agent's end, core's end, an unfinished frame of core's
        os.mkdir(folder + "/root")

    def tell(self, kind, fields=(), ident=0, fds=()):
        if self.core:
            try:
                self.core.send(kind, fields, ident=ident, fds=fds)
            except OSError:
                self.core = None

    def end(self, reason):
        kill_tree(os.getpid(), False)
        if self.report is not None:
            os.pwrite(self.report, (reason + "\n\n").encode(), 0)
        self.tell(V_EXITED, [(VT_REASON, reason), (VT_TEXT, "")])
        os._exit(0)

    def boot(self, m):
        console = m.fds[m.num(VT_CONSOLE)]
        self.report = os.dup(m.fds[m.num(VT_REPORT)])
        os.write(console, b"".join(b"line %d of the console\r\n" % i for i in range(1, 31)))
        with open(os.path.join(self.folder, "cmdline"), "w") as f:
            f.write(m.text(VT_CMDLINE))
        vmm = os.getpid()
        self.process = subprocess.Popen([self.agent, "--listen", "unix:" + self.agent_sock, "--hello", "unix:" + self.hello_sock, "--prefix",
                                         self.folder + "/root"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=lambda: die_with_parent(vmm))
        self.state = "running"
        self.tell(OK, ident=m.id)

    def connect(self, m):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(self.agent_sock)
        except OSError as why:
            self.tell(ERR, [(STATUS, 503), (TEXT, "the guest refuses: %s" % why)], m.id)
            return
        self.tell(OK, ident=m.id, fds=[s.fileno()])
        s.close()

    def on_net(self, m):
        """Limits of the card are kept and told, nothing else."""
        given = {tag: m.num(tag) for tag in VT_NET_VALUES if m.num(tag) is not None}
        if any(v > 1 << 40 for v in given.values()):
            self.tell(ERR, [(STATUS, 400), (TEXT, "out of range")], m.id)
            return
        self.net = ({tag: 0 for tag in VT_NET_VALUES} if m.num(VT_HEAL) else self.net) | given
        self.tell(OK, [*self.net.items(), (VT_STAT, [(VT_NAME, "rx_packets"), (VT_VALUE, 7)])], m.id)

    def on_core(self):
        try:
            m = self.core.recv()
        except OSError:
            m = None
        if m is None:
            self.core.close()
            self.core = None
        elif m.kind == V_BOOT:
            self.boot(m)
        elif m.kind == V_CONNECT:
            self.connect(m)
        elif m.kind == V_LISTEN:
            self.listens = True
            self.tell(OK, ident=m.id)
        elif m.kind in (V_PAUSE, V_RESUME):
            self.state = "paused" if m.kind == V_PAUSE else "running"
            self.process.send_signal(signal.SIGSTOP if m.kind == V_PAUSE else signal.SIGCONT)
            self.tell(OK, ident=m.id)
        elif m.kind == V_STATS:
            self.tell(OK, [(VT_STAT, [(VT_NAME, "vsock.streams"), (VT_VALUE, int(self.hello is not None))])], m.id)
        elif m.kind == V_NET:
            self.on_net(m)
        elif m.kind == V_RESIZE:
            self.tell(OK, ident=m.id)
        elif m.kind == V_QUIT:
            self.tell(OK, ident=m.id)
            self.end("killed")
        else:
            self.tell(ERR, [(STATUS, 400), (TEXT, "what?")], m.id)
        for fd in m.fds if m else ():
            os.close(fd)

    def on_hello(self):
        """The agent connects to the host: core gets the other end of a relay, which knows how to stop this machine."""
        conn, _ = self.hello_listener.accept()
        if not (self.core and self.listens):
            conn.close()
            return
        ours, theirs = socket.socketpair()
        self.hello, self.relay, self.rest = conn, ours, b""
        self.tell(V_INCOMING, [(VT_PORT, 1025), (VT_GUEST_PORT, 5)], fds=[theirs.fileno()])
        theirs.close()

    def on_relay(self, source):
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if not data:
            for s in (self.hello, self.relay):
                s.close()
            self.hello = self.relay = None
        elif source is self.hello:
            self.relay.sendall(data)
        else:
            self.from_core(data)

    def from_core(self, data):
        self.rest += data
        while len(self.rest) >= 12:
            n, kind, _, ident = struct.unpack_from("<IHHI", self.rest)
            if len(self.rest) < 12 + n:
                return
            one, self.rest = self.rest[:12 + n], self.rest[12 + n:]
            if kind == A_SHUTDOWN:
                self.relay.sendall(frame(OK, ident))
                self.end("reboot" if b"reboot" in one else "poweroff")
            self.hello.sendall(one)

    def run(self):
        while True:
            waits = [4, self.listener, self.hello_listener] + [s for s in (self.hello, self.relay) if s] + ([self.core.sock] if self.core else [])
            for s in select.select(waits, [], [])[0]:
                if s == 4:
                    self.end("killed")
                elif s is self.listener:
                    self.core = Chan(s.accept()[0])
                    self.listens = False
                    self.tell(V_HELLO, [(VT_VERSION, "made up"), (VT_STATE, self.state)])
                elif s is self.hello_listener:
                    self.on_hello()
                elif self.core and s is self.core.sock:
                    self.on_core()
                elif s in (self.hello, self.relay):
                    self.on_relay(s)
            if self.process and self.process.poll() is not None:
                self.end("device")


if __name__ == "__main__":
    Vmm(socket.socket(fileno=3), sys.argv[1], sys.argv[2]).run()
