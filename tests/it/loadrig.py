"""A whole daemon without KVM, for load: real front, real core and real agents; only jail and the VM processes are made up. Each VM is a
`sleep` and a socket served by one loop in a process of its own; a stream into it is one to an agent on the host. Standard library only."""
import array
import json
import os
import resource
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, wait_for  # noqa: E402
from frames import frame, fields  # noqa: E402

ERR, OK = 1, 2
J_SPAWN, J_KILL, J_ADOPT, J_EXITED = 16, 17, 18, 19
(V_HELLO, V_BOOT, V_CONNECT, V_LISTEN, V_INCOMING, V_PAUSE, V_RESUME, V_STATS, V_QUIT, V_EXITED) = range(16, 26)
T_PORT, T_GUEST_PORT, T_REASON, T_TEXT, T_CMDLINE = 32, 33, 34, 35, 20
A_HELLO, T_PROTO = 16, 16


def num(body, tag):
    return next((struct.unpack("<Q", v)[0] for t, v in fields(body) if t == tag), None)


def text(body, tag):
    return next((v.decode() for t, v in fields(body) if t == tag), "")


class Hosts:
    """jail and every VM's process, in one loop. Runs in a child of the test; told what to do over a socket, one JSON line each."""

    def __init__(self, jail, orders, agents):
        self.jail, self.orders, self.agents = jail, orders, agents
        self.vms, self.by_name, self.held = {}, {}, {}
        self.poll = select.epoll()
        self.what = {}
        for s in (jail, orders):
            self.watch(s, None)

    def watch(self, s, vm):
        self.what[s.fileno()] = (s, vm)
        self.poll.register(s.fileno(), select.EPOLLIN)

    def forget(self, s):
        if s.fileno() in self.what:
            del self.what[s.fileno()]
            self.poll.unregister(s.fileno())
            s.close()

    def send(self, s, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            s.sendmsg([data], control)
        except OSError:
            pass

    def run(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd in self.what:
                    s, vm = self.what[fd]
                    if s is self.orders:
                        self.order()
                    elif vm and s is vm["listener"]:
                        vm["core"] = s.accept()[0]
                        self.watch(vm["core"], vm)
                        self.send(vm["core"], frame(V_HELLO, 0, [(16, "stand-in"), (17, vm["state"])]))
                    else:
                        self.packet(s, vm)

    def order(self):
        data = self.orders.recv(4096)
        if not data:
            os._exit(0)
        for line in data.decode().splitlines():
            o = json.loads(line)
            if o["do"] == "hold":  # its V_CONNECTs are not answered until "free"
                self.held[o["vm"]] = []
            elif o["do"] == "free":
                for call in self.held.pop(o["vm"], []):
                    self.connect(*call)
            elif o["do"] == "die":
                vm = self.by_name[o["vm"]]
                self.exited(vm, None)
        self.orders.send(b"done\n")

    def packet(self, s, vm):
        try:
            data, control, _, _ = s.recvmsg(1 << 17, 4096)
        except OSError:
            data, control = b"", []
        got = array.array("i")
        for level, kind, body in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got.frombytes(body[:len(body) - len(body) % 4])
        if not data:
            if s is self.jail:
                os._exit(0)
            self.forget(s)
            return
        _, kind, _, ident = struct.unpack_from("<IHHI", data)
        if s is self.jail:
            self.on_jail(kind, ident, data[12:], list(got))
        else:
            self.on_vm(vm, kind, ident, data[12:])
        for fd in got:
            os.close(fd)

    def on_jail(self, kind, ident, body, fds):
        name = text(body, 16)
        if kind == J_SPAWN:
            p = subprocess.Popen(["sleep", "100000"], stdin=subprocess.DEVNULL)
            number = int(name.rsplit("-", 1)[1]) - 1
            vm = dict(name=name, p=p, listener=socket.socket(fileno=os.dup(fds[0])), state="new", core=None, agent=self.agents[number % len(self.agents)])
            vm["listener"].setblocking(True)
            self.by_name[name] = vm
            self.watch(vm["listener"], vm)
            pidfd = os.pidfd_open(p.pid)
            self.send(self.jail, frame(OK, ident, [(20, p.pid)]), [pidfd])
            os.close(pidfd)
        elif kind == J_KILL and name in self.by_name:
            self.send(self.jail, frame(OK, ident))
            self.exited(self.by_name[name], None)
        else:
            self.send(self.jail, frame(ERR, ident, [(1, 404), (2, "unknown")]))

    def exited(self, vm, reason):
        if reason:
            self.send(vm["core"], frame(V_EXITED, 0, [(T_REASON, reason), (T_TEXT, "")]))
        vm["p"].kill()
        vm["p"].wait()
        for key in ("core", "listener"):
            if vm[key]:
                self.forget(vm[key])
        self.by_name.pop(vm["name"], None)
        self.send(self.jail, frame(J_EXITED, 0, [(16, vm["name"]), (21, (2 << 8) + 9)]))

    def hello(self, vm):
        ours, theirs = socket.socketpair()
        self.send(vm["core"], frame(V_INCOMING, 0, [(T_PORT, 1025), (T_GUEST_PORT, 5)]), [theirs.fileno()])
        theirs.close()
        ours.sendall(frame(A_HELLO, 0, [(T_PROTO, 1)]))
        vm["hello"] = ours

    def connect(self, vm, ident):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(vm["agent"])
            self.send(vm["core"], frame(OK, ident), [s.fileno()])
        except OSError:
            self.send(vm["core"], frame(ERR, ident, [(1, 503), (2, "the agent does not answer")]))
        s.close()

    def on_vm(self, vm, kind, ident, body):
        core = vm["core"]
        if kind == V_BOOT:
            vm["state"] = "running"
            self.send(core, frame(OK, ident))
            self.hello(vm)
        elif kind == V_CONNECT and vm["name"] in self.held:
            self.held[vm["name"]].append((vm, ident))
        elif kind == V_CONNECT:
            self.connect(vm, ident)
        elif kind == V_QUIT:
            self.send(core, frame(OK, ident))
            self.exited(vm, "killed")
        else:
            self.send(core, frame(OK, ident))


CONFIG = """config:
  graceful_shutdown: false
  host_groups:
  - {name: load, count: %d, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  - {name: made, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  api:
    port: %d
    auth: {enabled: %s}
%s"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def raise_limits():
    """Descriptors for a thousand clients. The number there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Daemon:
    """front and core from a folder, n_vms VMs named load-1 …, agent i serves the i-th VM. .unix and .tcp are addresses for Api."""

    def __init__(self, folder, n_vms=4, tls=True, auth=False):
        self.procs = []
        self.agent_program = os.path.join(os.path.dirname(folder), "guest", "agent")
        self.dir = tempfile.mkdtemp(prefix="mica-load-", dir=os.environ.get("TMPDIR"))
        os.chmod(self.dir, 0o755)
        self.agents, self.agent_paths = [None] * n_vms, [os.path.join(self.dir, "agent%d" % i) for i in range(n_vms)]
        for i in range(n_vms):
            self.start_agent(i)
        front, jail = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
        orders, theirs = socket.socketpair()
        self.orders = orders
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                for s in (front[0], front[1], jail[0], orders):
                    s.close()
                Hosts(jail[1], theirs, self.agent_paths).run()
            finally:
                os._exit(9)
        self.hosts = child
        for s in (jail[1], theirs):
            s.close()
        port = free_port()
        self.state = os.path.join(self.dir, "state")
        for name, size in (("image", 1 << 20), ("kernel", 4096)):
            with open(os.path.join(self.dir, name), "wb") as f:
                f.truncate(size)
        with open(os.path.join(self.dir, "m.yaml"), "w") as f:
            f.write(CONFIG % (n_vms, port, "true" if auth else "false", "    tls: {enabled: true}\n" if tls else ""))
        own = ["--uid", "1835597825", "--gid", "1835597825"] if os.getuid() == 0 else []
        self.front = self.spawn([os.path.join(folder, "front"), *own], [front[1].fileno()])
        status_r, status_w = os.pipe()
        fds = [os.open(os.path.join(self.dir, name), os.O_RDONLY) for name in ("kernel", "image")]
        argv = [os.path.join(folder, "core"), "--config", os.path.join(self.dir, "m.yaml"), "--state", self.state, "--flavour", "min", "--no-netd"]
        self.core = self.spawn(argv, [front[0].fileno(), jail[0].fileno(), fds[0], fds[0], fds[1], status_w])
        for s in (*front, jail[0]):
            s.close()
        for fd in (*fds, status_w):
            os.close(fd)
        self.status = os.fdopen(status_r)
        self.notes = []
        for line in self.status:
            self.notes.append(line)
            if line.startswith(("READY", "FATAL")):
                break
        if not self.notes or not self.notes[-1].startswith("READY"):
            raise RuntimeError("core does not start: %s" % self.notes)
        os.set_blocking(status_r, False)
        self.unix = os.path.join(self.state, "api.sock")
        self.tcp = ("127.0.0.1", port)
        if tls:
            self.pem = ssl.get_server_certificate(self.tcp)
            self.context = ssl.create_default_context(cadata=self.pem)
            self.tcp += (self.context,)
        self.api = Api(self.unix)
        self.vms = ["load-%d" % (i + 1) for i in range(n_vms)]
        if not wait_for(lambda: len([n for n in self.api.get("/nodes") if self.is_ready(n["hostname"])]) == n_vms, 20):
            raise RuntimeError("the VMs do not come up")

    def is_ready(self, vm):
        return self.api.call("GET", "/vm/%s/health" % vm)[0] == 200

    def spawn(self, argv, fds):
        """fds become 3, 4, …"""
        high = [os.dup2(fd, 300 + i, inheritable=True) for i, fd in enumerate(fds)]
        place = "".join("exec %d<&%d-;" % (3 + i, fd) for i, fd in enumerate(high))
        p = subprocess.Popen(["bash", "-c", place + 'exec "$@"', "start", *argv], pass_fds=high, stdin=subprocess.DEVNULL)
        for fd in high:
            os.close(fd)
        return p

    def start_agent(self, i):
        """The agent of the i-th VM, again when it was killed."""
        p = subprocess.Popen([self.agent_program, "--listen", "unix:" + self.agent_paths[i], "--hello", "none", "--prefix", self.dir], stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.agent_paths[i]), 5)
        self.agents[i] = p

    def order(self, what, vm):
        self.orders.send(json.dumps({"do": what, "vm": vm}).encode() + b"\n")
        self.orders.recv(64)

    def close(self):
        """core's exit code, once all is gone."""
        self.core.send_signal(signal.SIGTERM)
        try:
            code = self.core.wait(20)
        except subprocess.TimeoutExpired:
            self.core.kill()
            code = "core did not end"
        try:
            self.front.wait(5)
        except subprocess.TimeoutExpired:
            self.front.kill()
            code = "front did not end with core"
        self.orders.close()
        os.waitpid(self.hosts, 0)
        for p in self.agents:
            p.kill()
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
        return code


# ---- what a process costs ----

def memory_kib(pid):
    """(resident, proportional) KiB: VmRSS, and Pss where the kernel tells it."""
    with open("/proc/%d/status" % pid) as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    except (OSError, StopIteration):
        pss = rss
    return rss, pss


def cpu_s(pid):
    """CPU seconds of a process so far, all its threads, not its children."""
    with open("/proc/%d/schedstat" % pid) as f:
        return int(f.read().split()[0]) / 1e9


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]
