#!/usr/bin/env python3
"""crash.py BIN-FOLDER AGENT [-n KILLS] [-s SEED]: processes of the daemon, and vmms, are killed at random moments of create, delete, pause, exec and cp.
What was acknowledged is there, VMs live on and are taken over, streams end with an error and never a false exit code, nothing is left. The daemon is a real
one with real vmms whose guests halt (haltvm.py; needs KVM and root), and for streams core and front with agents on this host (stack.py). TAP."""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
ROOT = os.getuid() == 0
if ROOT and "MICA_CRASH_INSIDE" not in os.environ and __name__ == "__main__":
    os.environ["MICA_CRASH_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", sys.executable,
                          os.path.abspath(__file__)] + sys.argv[1:])

from frames import Tap  # noqa: E402
from haltvm import DAEMONS, Tree, Up, processes, vmms  # noqa: E402
from stack import Stack, descendants  # noqa: E402

UID_FIRST = 1835597824 + 16
GROUP = "k%d" % (time.time_ns() // 1000 % 10**9)  # cgroups know no namespaces: other tests may run
tap = Tap()


def wait_for(true, limit_s=20):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return bool(true())


def kill9(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def output(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout


class World:
    """What this namespace holds beside processes."""

    def __init__(self):
        self.links = output("ip", "-br", "link")
        self.rules = output("nft", "list", "tables")
        with open("/proc/self/mountinfo") as f:
            self.mounts = len(f.readlines())
        self.groups = groups()

    def same(self):
        now = World()
        return {k: (v, getattr(now, k)) for k, v in vars(self).items() if v != getattr(now, k)}


def groups():
    """cgroups of VMs."""
    found = []
    with open("/proc/self/mountinfo") as f:
        tops = [line.split()[4] for line in f if " - cgroup2 " in line]
    for top in tops[:1]:
        for at, folders, _ in os.walk(top):
            found += [os.path.join(at, name) for name in folders if name.startswith("vm-%s-" % GROUP)]
    return sorted(found)


# ---- VMs ----------------------------------------------------------------------------------------------------------

class Machines:
    def __init__(self, tree, rng):
        self.tree, self.rng, self.up, self.deaths, self.bad, self.told = tree, rng, None, 0, [], []
        self.acked = {}   # name → pid, as they must be
        self.restart()

    def restart(self):
        self.up = Up(self.tree, net=True, group=GROUP)
        self.deaths = 0
        if not self.up.serving():
            raise AssertionError("the daemon does not come up: " + self.up.text())

    def slots(self):
        """uid of its vmm → name, by the records."""
        found = {}
        folder = self.up.state + "/vm"
        for name in os.listdir(folder):
            try:
                with open("%s/%s/record" % (folder, name)) as f:
                    found[UID_FIRST + int(re.search(r"(?m)^slot=(\d+)$", f.read())[1])] = name
            except (OSError, TypeError):
                pass
        return found

    def living(self):
        """name → pid of the vmms that run; one without a record is '?pid'."""
        slots, out = self.slots(), {}
        for pid in vmms():
            try:
                uid = os.stat("/proc/%d" % pid).st_uid
                with open("/proc/%d/status" % pid) as f:
                    uid = int(re.search(r"(?m)^Uid:\s+(\d+)", f.read())[1])
            except OSError:
                continue
            out[slots.get(uid, "?%d" % pid)] = pid
        return out

    def do(self, what, name):
        """One request; (what, name, status, answer)."""
        if what == "create":
            status, said = self.up.call("POST", "/hostgroup/" + GROUP + "/nodes", {"persistent": True})
            return what, said["hostname"] if status == 201 else None, status, said
        if what == "delete":
            status, said = self.up.call("DELETE", "/hostgroup/" + GROUP + "/nodes/" + name)
        else:
            status, said = self.up.call("POST", "/vm/%s/%s" % (name, what))
        return what, name, status, said

    def round(self, number):
        rng = self.rng
        whats = ["create", "create"] + (["delete", "pause"] if self.acked else [])
        what = "delete" if len(self.acked) >= 5 else rng.choice(whats)
        name = rng.choice(sorted(self.acked)) if what != "create" else None
        pids = self.up.pids()
        targets = [d for d in DAEMONS if d in pids] + ["up"] + (["vmm"] if self.acked else [])
        target = "up" if self.deaths >= 3 else rng.choice(targets)
        victim = rng.choice(sorted(self.acked)) if target == "vmm" else None
        result = []
        t = threading.Thread(target=lambda: result.append(self.do(what, name)))
        t.start()
        time.sleep(rng.random() ** 2 * 0.03)
        said = len(self.up.lines)
        kill9(self.acked[victim] if victim else self.up.p.pid if target == "up" else pids[target])
        t.join(40)
        tell = "%d: %s %s, %s killed" % (number, what, name or "", victim or target)
        self.told.append(tell)
        if not result:
            self.bad.append(tell + ": the request hangs")
            return
        self.recover(target, said)
        self.judge(tell, victim, *result[0])

    def recover(self, target, said):
        if target == "up":
            old = set(self.up.pids().values())
            self.up.p.wait()
            wait_for(lambda: not any(n.startswith("mica-") and n != "mica-vmm" for _, n in processes().values()))
            self.restart()
            del old
        elif target != "vmm":
            self.deaths += 1
            self.up.says("the daemon is back", after=said)
        if self.up.p.poll() is not None:
            self.bad.append("the daemon ended: " + self.up.text()[-600:])
            self.restart()
        self.up.serving()

    def judge(self, tell, victim, what, name, status, answer):
        dead = self.acked.pop(victim, None)
        if what == "delete" and status == 200:
            self.acked.pop(name, None)
        unsure = {name} if what != "create" and status != 200 else set()

        def settled():
            nodes, living = self.up.nodes(), self.living()
            if nodes is None:
                return "no answer"
            if dead in living.values() or nodes.get(victim, {}).get("status") in ("Running", "Paused"):
                return "%s was killed, and is %s" % (victim, nodes.get(victim))
            for n, pid in self.acked.items():
                if n not in unsure and (n not in nodes or living.get(n) != pid):
                    return "%s is lost: %s, process %s was %s" % (n, nodes.get(n), living.get(n), pid)
            if what == "create" and status == 201 and name not in nodes:
                return "%s was acknowledged and is gone" % name
            if what == "delete" and status == 200 and (name in nodes or name in living):
                return "%s was deleted and is there" % name
            for n, pid in living.items():
                if n not in nodes:
                    return "process %d of %s belongs to no VM" % (pid, n)
            for n, node in nodes.items():
                if (node["status"] in ("Running", "Paused")) != (n in living):
                    return "%s is %s, its process %s" % (n, node["status"], living.get(n))
            taps = set(re.findall(r"^(\S*tap\S*)\s", output("ip", "-br", "link"), re.M))
            if len(taps) > len(living):
                return "taps %s for %s" % (taps, living)
            return None
        if not wait_for(lambda: not settled(), 15):
            self.bad.append("%s (HTTP %s %s): %s; before: %s; the daemon said %s" % (
                tell, status, str(answer)[:200], settled(), self.told[-4:-1], [x for x in self.up.lines if "note:" in x or "mica:" in x][-6:]))
        nodes, living = self.up.nodes() or {}, self.living()
        for n in nodes:
            if nodes[n]["status"] not in ("Running", "Paused"):
                self.up.call("DELETE", "/hostgroup/" + GROUP + "/nodes/" + n)
                self.acked.pop(n, None)
        self.acked = {n: living[n] for n in nodes if n in living}

    def finish(self):
        for n in self.up.nodes() or {}:
            status, said = self.up.call("DELETE", "/hostgroup/" + GROUP + "/nodes/" + n)
            if status != 200:
                self.bad.append("delete %s: %s %s" % (n, status, said))
        return self.up.stop()


def machines(bin_folder, n, rng):
    if not ROOT or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        tap.skip("killed at create, delete, pause", "needs root and /dev/kvm")
        return
    subprocess.run(["ip", "link", "set", "lo", "up"])
    world, tree = World(), Tree(bin_folder)
    try:
        m = Machines(tree, rng)
        for i in range(n):
            m.round(i)
        code = m.finish()
        tap.ok(not m.bad, "%d kills around create, delete, pause: what was acknowledged is kept, VMs live on: %s" % (n, m.bad[:6]))
        tap.ok(code == 0, "the daemon ends: %s" % code)
        wait_for(lambda: not world.same() and not vmms(), 5)
        tap.ok(not world.same(), "no interface, rule, mount or cgroup is left: %s" % world.same())
        left = [x for x in processes().values() if x[1].startswith("mica")]
        tap.ok(not left, "no process: %s" % left)
        files = [os.path.join(at, f) for at, _, names in os.walk(tree.path("state")) for f in names if "/vm/" in at or f.endswith(".new") or ".tmp" in f]
        tap.ok(not files and not os.listdir(tree.path("state/vm")), "no file: %s" % files)
    finally:
        for pid in vmms():
            kill9(pid)
        tree.close()


# ---- streams ------------------------------------------------------------------------------------------------------

class Streams:
    def __init__(self, bin_folder, agent, rng):
        self.mica, self.rng, self.bad = os.path.join(bin_folder, "mica"), rng, []
        self.stack, self.vm = Stack(bin_folder, agent), None
        self.data = os.path.join(self.stack.dir, "data")
        with open(self.data, "wb") as f:
            f.write(rng.randbytes(3 << 20))

    def run(self, *words):
        return subprocess.Popen([self.mica, "--socket", self.stack.unix, *words],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={"HOME": self.stack.dir, "PATH": os.environ["PATH"]})

    def have_vm(self):
        if self.vm and self.vm in self.stack.jail.vmms:
            return
        done = subprocess.run([self.mica, "--socket", self.stack.unix, "vm", "launch", "demo", "--json"], capture_output=True, text=True, timeout=60)
        found = re.search(r"demo-\d+", done.stdout)
        if not found:
            raise AssertionError("no VM: %r" % done)
        self.vm = found[0]
        subprocess.run([self.mica, "--socket", self.stack.unix, "vm", "ready", self.vm], capture_output=True, timeout=60)

    def round(self, number):
        self.have_vm()
        what, target = self.rng.choice(["exec", "cp in", "cp out"]), self.rng.choice(["core", "front", "vmm"])
        out = os.path.join(self.stack.dir, "out")
        if os.path.exists(out):
            os.unlink(out)
        if what == "cp out":
            self.run("vm", "cp", self.data, self.vm + ":there").communicate(timeout=60)
        p = self.run("vm", "exec", self.vm, "--", "sh", "-c", "echo begin; sleep 0.%d; echo end; exit 7" % self.rng.randrange(10)) if what == "exec" else \
            self.run("vm", "cp", self.data, self.vm + ":data") if what == "cp in" else self.run("vm", "cp", self.vm + ":there", out)
        time.sleep(self.rng.random() * 0.25)
        if target == "vmm":
            pid = self.stack.jail.vmms[self.vm].pid
            guest = descendants(pid)
            kill9(pid)  # its agent ends with it, and has no time to tell of the others' end
            for one in guest:
                kill9(one)
        else:
            kill9((self.stack.core if target == "core" else self.stack.front).pid)
        tell = "%d: %s, %s killed" % (number, what, target)
        try:
            said, err = p.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            p.kill()
            self.bad.append(tell + ": it hangs")
            said, err = p.communicate()
        if what == "exec" and (p.returncode not in (7, 125) or (p.returncode == 7) != (b"end\n" in said and not err.startswith(b"error"))) and not (
                p.returncode == 125 and b"end\n" in said):
            self.bad.append("%s: exit code %s, %r %r" % (tell, p.returncode, said, err))
        if what != "exec" and p.returncode == 0 and what == "cp out":
            with open(out, "rb") as f, open(self.data, "rb") as g:
                if f.read() != g.read():
                    self.bad.append(tell + ": exit code 0 and another file")
        if what != "exec" and p.returncode not in (0, 1):
            self.bad.append("%s: exit code %s %r" % (tell, p.returncode, err))
        if p.returncode not in (0, 7) and not re.search(rb"^error: .*\ncause: .*\nfix: ", err, re.M):
            self.bad.append("%s: no error of three lines: %r" % (tell, err))
        if what == "cp out" and p.returncode and [f for f in os.listdir(self.stack.dir) if f.startswith((".out", "out.", ".mica"))]:
            self.bad.append("%s: a part is left: %s" % (tell, os.listdir(self.stack.dir)))
        if target == "vmm":
            wait_for(lambda: self.vm not in self.stack.jail.vmms)
            return
        alive = {n: p.pid for n, p in self.stack.jail.vmms.items()}
        self.stack.crash()
        self.stack.start()
        if {n: p.pid for n, p in self.stack.jail.vmms.items()} != alive:
            self.bad.append("%s: VMs did not live on: %s" % (tell, alive))
        again = subprocess.run([self.mica, "--socket", self.stack.unix, "vm", "exec", self.vm, "--", "sh", "-c", "exit 9"], capture_output=True, timeout=60)
        if again.returncode != 9:
            self.bad.append("%s: afterwards exec says %r" % (tell, again))


def streams(bin_folder, agent, n, rng):
    s = Streams(bin_folder, agent, rng)
    try:
        for i in range(n):
            s.round(i)
        tap.ok(not s.bad, "%d kills around exec and cp: an error or the command's own end, VMs are taken over: %s" % (n, s.bad[:6]))
    finally:
        codes = s.stack.close()
    tap.ok(codes == [0, 0] or codes[0] == 0, "the daemon ends: %s" % codes)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("bin")
    p.add_argument("agent")
    p.add_argument("-n", type=int, default=24)
    p.add_argument("-s", type=int, default=random.SystemRandom().randrange(1 << 32))
    a = p.parse_args()
    print("# seed %d (-s %d), %d kills" % (a.s, a.s, a.n), flush=True)
    machines(os.path.abspath(a.bin), a.n * 3 // 4, random.Random(a.s))
    streams(os.path.abspath(a.bin), os.path.abspath(a.agent), a.n - a.n * 3 // 4, random.Random(a.s + 1))
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
