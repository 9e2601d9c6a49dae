"""What the cases share: the program under test, daemons that are started and ended, the two VMs, a few ways to say 'this
must hold'. A case is a function case_* of a case_*.py file; its first line of doc is its name; it may set limit_s."""
import os
import signal
import subprocess
import tempfile
import time

import client


class Skip(Exception):
    """This case cannot be run here; the text says why."""


def must(condition, *what):
    if not condition:
        raise AssertionError(" ".join(repr(w) if not isinstance(w, str) else w for w in what) or "it does not hold")


def same(got, want, what=""):
    if got != want:
        raise AssertionError("%s: got %s, want %s" % (what or "value", short(got), short(want)))


def short(value):
    text = repr(value)
    return text if len(text) < 300 else "%s… (%d characters)" % (text[:300], len(text))


def limit(seconds):
    def set_it(function):
        function.limit_s = seconds
        return function
    return set_it


CONFIG = """config:
  host_groups:
  - name: %(group)s
    storage: image
    storage_size: %(disk)s
    count: %(count)d
    vcpu: 2
    ram_mb: %(ram_mb)d
    network: { mode: bridge, bridge: %(bridge)s, tap_prefix: %(group)stap, gateway: %(gateway)s }
  hypervisor: firecracker
  graceful_shutdown: %(graceful)s
  api: { %(api)s }
"""


class Daemon:
    """One `mica up`, in a folder of its own."""

    def __init__(self, world, name, number, tcp_port=0, **config):
        self.world, self.name = world, name
        self.dir = config.pop("dir", None) or os.path.join(world.top, name)
        os.makedirs(self.dir, exist_ok=True)
        self.sock = os.path.join(self.dir, "api.sock")
        self.state = os.path.join(self.dir, "state")
        api = 'port: %d, bind_address: "127.0.0.1"' % tcp_port if tcp_port else 'bind_address: "./api.sock"'
        known = dict(group=name, disk="256M", count=0, ram_mb=128, bridge="br" + name, gateway="10.99.%d.1/24" % number,
                     graceful="false", api=api)
        known.update(config)
        self.file = os.path.join(self.dir, "mica.yaml")
        with open(self.file, "w") as f:
            f.write(CONFIG % known)
        self.address = ("127.0.0.1", tcp_port) if tcp_port else self.sock
        self.api = client.Api(self.address)
        self.group = known["group"]
        self.proc = None

    def start(self, limit_s=20):
        self.log = open(os.path.join(self.dir, "up.log"), "ab")
        self.proc = subprocess.Popen([self.world.mica, "up", self.file], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log,
                                     stderr=self.log, env=self.world.environ(MICA_STATE=self.state), start_new_session=True)
        if not client.wait_for(self.answers, limit_s * self.world.patience):
            raise AssertionError("the daemon did not answer /healthz:\n" + self.tail())
        return self

    def answers(self):
        if self.proc.poll() is not None:
            raise AssertionError("the daemon ended with status %d:\n%s" % (self.proc.returncode, self.tail()))
        return self.api.call("GET", "/healthz", timeout_s=5)[0] == 200

    def tail(self, lines=15):
        try:
            with open(os.path.join(self.dir, "up.log"), errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    def create(self, wait="agent", timeout="60s", **body):
        """The hostname of a new VM."""
        status, _, answer = self.api.call("POST", client.query("/hostgroup/%s/nodes" % self.group, wait=wait, timeout=timeout), body,
                                          timeout_s=90 * self.world.patience)
        must(status in (200, 201), "create:", status, answer)
        return client.json.loads(answer)["hostname"]

    def delete(self, vm):
        return self.api.call("DELETE", "/hostgroup/%s/nodes/%s" % (self.group, vm), timeout_s=60)

    def kill9(self):
        """The worst end a daemon can have: every process of the daemon that is not a VM, at once."""
        for pid in self.daemon_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()

    def daemon_pids(self):
        """`mica up` and the processes below it that are not vmm."""
        pids, grown = [self.proc.pid], True
        parents = {pid: (ppid, name) for pid, ppid, name in processes()}
        while grown:
            more = [p for p, (parent, name) in parents.items() if parent in pids and p not in pids and name not in VMM_NAMES]
            grown = bool(more)
            pids += more
        return pids

    def stop(self):
        if not self.proc or self.proc.poll() is not None:
            return
        self.proc.terminate()
        try:
            self.proc.wait(20 * self.world.patience)
        except subprocess.TimeoutExpired:
            self.kill9()


def processes():
    """(pid, ppid, name) of every process."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                text = f.read()
        except OSError:
            continue
        name, after = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        yield int(pid), int(after[1]), name


VMM_NAMES = ("mica-vmm", "vmm")


def vmm_pids():
    """Those below this process, and orphans. Tests that run beside this one have vmms of their own, which are none of our business."""
    found = {pid: (parent, name) for pid, parent, name in processes()}

    def upwards(pid):
        while pid in found:
            yield pid
            pid = found[pid][0]

    fosters = {1, *upwards(os.getpid())}
    return {pid for pid, (parent, name) in found.items() if name in VMM_NAMES and (parent in fosters or os.getpid() in upwards(pid))}


class World:
    def __init__(self, mica, top, full):
        self.mica, self.top, self.full = mica, top, full
        self.patience = 1 if full else 4  # limits are written for a quick machine
        self.daemons, self.shared, self.broken = [], None, False
        self.vms = {}
        self.first_vmms = vmm_pids()  # other people's

    def environ(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MICA_", "SLICER_"))}
        env.update(HOME=self.top, **more)
        return env

    def daemon(self, name, number, **config):
        made = Daemon(self, name, number, **config)
        self.daemons.append(made)
        return made

    def folder(self, name):
        """A new folder for one case's files, also when it runs again."""
        made = tempfile.mkdtemp(prefix=name + "-", dir=self.top)
        os.chmod(made, 0o755)
        return made

    def forget(self, kept, n):
        """Ends the daemons that a failed case made, but for the shared one, and puts their folders aside: the next try makes them afresh."""
        for daemon in [d for d in self.daemons if d not in kept and d is not self.shared]:
            self.daemons.remove(daemon)
            try:
                daemon.stop()
                os.rename(daemon.dir, "%s.failed-%d" % (daemon.dir, n))
            except (OSError, subprocess.TimeoutExpired) as e:
                print("# ending %s: %s" % (daemon.name, e))

    @property
    def main(self):
        """The daemon most cases share."""
        if self.broken:
            raise AssertionError("there is no daemon: its first start failed")
        if not self.shared:
            self.shared = self.daemon("it", 1)
            self.broken = True
            self.shared.start()
            self.broken = False
        return self.shared

    @property
    def api(self):
        return self.main.api

    def vm(self, cpus=1):
        """A running VM with that many vCPUs, made once."""
        if cpus not in self.vms:
            self.vms[cpus] = self.main.create(cpus=cpus)
        return self.vms[cpus]

    def cli(self, *args, stdin=b"", limit_s=60, cwd=None, binary=None, **env):
        """Runs the command line against the shared daemon; .returncode .stdout .stderr (bytes)."""
        return subprocess.run([binary or self.mica, *args], input=stdin, capture_output=True, timeout=limit_s * self.patience,
                              cwd=cwd or self.top, env=self.environ(**({"MICA_URL": self.main.sock} | env)))

    def alone(self, *args, stdin=b"", limit_s=60, cwd=None, binary=None, **env):
        """Runs a command that needs no daemon, with a state folder of its own."""
        env.setdefault("MICA_STATE", os.path.join(self.top, "alone"))
        return subprocess.run([binary or self.mica, *args], input=stdin, capture_output=True, timeout=limit_s * self.patience,
                              cwd=cwd or self.top, env=self.environ(**env))

    def tell(self):
        """What helps to understand a failure."""
        return "".join("-- %s:\n%s" % (d.name, d.tail(8)) for d in self.daemons)

    def end(self):
        for daemon in self.daemons:
            try:
                daemon.stop()
            except Exception as e:  # the next one still has to be ended
                print("# ending %s: %s" % (daemon.name, e))
        time.sleep(0.2)
        for pid in vmm_pids() - self.first_vmms:
            os.kill(pid, signal.SIGKILL)
