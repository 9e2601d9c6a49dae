"""The daemon may die; VMs do not."""
import time

from client import query, wait_for
from world import limit, must, same, vmm_pids


@limit(120)
def case_kill9(env):
    """kill -9 of the whole daemon: the VMs go on, and a new daemon has them again with their memory"""
    api, names = env.api, [env.vm(1), env.vm(2)]
    for name in names:
        api.sh(name, "echo remembered >/dev/shm/mark || echo remembered >/tmp/mark; (sleep 600 </dev/null >/dev/null 2>&1 &)")
    nodes = {n["hostname"]: n for n in api.get("/nodes")}
    pids, boots = vmm_pids(), [api.sh(n, "cat /proc/sys/kernel/random/boot_id")[1] for n in names]
    env.main.kill9()
    time.sleep(0.5)
    must(pids <= vmm_pids(), "vmm processes before and after", pids, vmm_pids())
    begin = time.monotonic()
    env.main.start()
    same([api.sh(n, "cat /proc/sys/kernel/random/boot_id")[1] for n in names], boots, "boot ids")
    print("# adopted and answering %.2f s after the new start" % (time.monotonic() - begin))
    for name in names:
        same(api.sh(name, "cat /dev/shm/mark 2>/dev/null || cat /tmp/mark")[1], b"remembered\n")
    after = {n["hostname"]: n for n in api.get("/nodes")}
    for name in names:
        for key in ("hostgroup", "ip", "cpus", "ram_bytes", "created_at", "tags", "persistent", "status"):
            same(after[name].get(key), nodes[name].get(key), "%s of %s" % (key, name))
    same(pids, vmm_pids(), "vmm processes")


@limit(90)
def case_kill9_during_exec(env):
    """kill -9 while an exec runs: its client sees an end without an invented exit code"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/exec" % env.vm(1), cmd="/bin/sh", args=["-c", "echo up; sleep 300"]))
        frames, broke = [], False
        try:
            for frame in conn.response().lines():
                frames.append(frame)
                if frame["type"] == "stdout":
                    env.main.kill9()
        except Exception:
            broke = True
    must(broke or frames[-1].get("error"), "the end it saw", frames[-1:])
    must(not [f for f in frames if f["type"] == "exit" and not f.get("error")], "an exit frame was invented", frames)
    env.main.start()
    same(env.api.sh(env.vm(1), "echo again")[1], b"again\n")


@limit(120)
def case_vm_died_meanwhile(env):
    """a VM that ended while the daemon was away is known as ended, the others go on"""
    import os
    import signal
    name = env.main.create(cpus=1)
    before = vmm_pids()
    env.main.kill9()
    victim = None
    for pid in sorted(before):
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            if name.encode() in f.read():
                victim = pid
    victim = victim or max(before)
    os.kill(victim, signal.SIGKILL)
    env.main.start()
    gone = wait_for(lambda: name not in [n["hostname"] for n in env.api.get("/nodes") if n["status"] == "Running"], 10 * env.patience)
    must(gone, name, "is still listed as running")
    same(env.api.sh(env.vm(1), "echo on")[1], b"on\n")
    env.main.delete(name)


@limit(60)
def case_term(env):
    """SIGTERM: the daemon ends with 0, soon, and its ephemeral VMs with it; started again it answers"""
    env.main.proc.terminate()
    same(env.main.proc.wait(20 * env.patience), 0, "exit status of mica up")
    env.main.start()
    must(env.api.get("/info")["version"])
    alive = [n["hostname"] for n in env.api.get("/nodes") if n["status"] == "Running"]
    for cpus in list(env.vms):
        if env.vms[cpus] not in alive:
            del env.vms[cpus]  # the next cases make new ones
