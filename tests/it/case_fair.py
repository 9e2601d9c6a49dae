"""A guest that takes all it can get, and what its neighbour notices: execs of the neighbour while the hog runs, beside execs while the hog is paused, turn by
turn, so that both see the same machine. Ratios of medians, no times."""
import os
import statistics
import time

from client import wait_for
from world import Skip, limit, must, same, vmm_pids

ROUNDS, EXECS = 6, 5
THINK_S = 0.02  # between execs: without, the neighbour wants a whole CPU too, and of one CPU each gets half: 2 by definition
RATIO_MAX = 2.0
TICK_HZ = os.sysconf("SC_CLK_TCK")


def vmm_of(env, vm):
    for pid in vmm_pids() - env.first_vmms:
        with open("/proc/%d/cmdline" % pid) as f:
            if f.read().split("\0")[1] == vm:
                return pid
    raise AssertionError("no process of " + vm)


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as f:
        words = f.read().rsplit(") ", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICK_HZ


def power(env, vm, what):
    same(env.api.call("POST", "/vm/%s/%s" % (vm, what), {})[0], 200, what)


def timed(env, vm):
    time.sleep(THINK_S)
    begin = time.monotonic()
    same(env.api.run(vm, "true")[0], 0, "exec beside a hog")
    return time.monotonic() - begin


def measure(env, script, root=False):
    """(median beside the hog / median beside the same one paused, share of a CPU that it had)"""
    if not os.path.exists("/sys/fs/cgroup/cpu.stat"):
        raise Skip("no cgroup v2 with a CPU controller here: nothing shares the CPUs between VMs")
    near, hog = env.vm(1), env.main.create(cpus=1)
    try:
        pid = vmm_of(env, hog)
        same(env.api.run(hog, "sh", ["-c", "(%s) </dev/null >/dev/null 2>&1 &" % script], uid=0 if root else 1000)[0], 0, "the hog starts")
        begun = cpu_s(pid)
        must(wait_for(lambda: cpu_s(pid) > begun + 0.5, 60), "the hog takes CPU time")
        power(env, hog, "pause")
        timed(env, near)
        quiet, beside, had, wall = [], [], 0.0, 0.0
        for _ in range(ROUNDS):
            quiet += [timed(env, near) for _ in range(EXECS)]
            power(env, hog, "resume")
            had -= cpu_s(pid)
            wall -= time.monotonic()
            beside += [timed(env, near) for _ in range(EXECS)]
            had += cpu_s(pid)
            wall += time.monotonic()
            power(env, hog, "pause")
    finally:
        env.main.delete(hog)
    print("#   quiet %s ms, beside %s ms" % tuple(" ".join("%.0f" % (1000 * v) for v in statistics.quantiles(x, n=4)) for x in (quiet, beside)), flush=True)
    return statistics.median(beside) / statistics.median(quiet), had / wall


def judge(env, name, *how, **more):
    ratio, share = measure(env, *how, **more)
    print("# %s: ratio of median exec latencies %.2f (the hog had %.0f %% of a CPU)" % (name, ratio, 100 * share), flush=True)
    must(share > 0.1, "the hog was none: it had", share)
    must(ratio <= RATIO_MAX, "median exec latency beside a %s is %.2f times as long" % (name, ratio))


@limit(200)
def case_busy(env):
    """beside a guest in a busy loop"""
    judge(env, "busy loop", "while :; do :; done")


@limit(200)
def case_forks(env):
    """beside a fork bomb"""
    judge(env, "fork bomb", "ulimit -u 200; while :; do (bomb() { bomb | bomb & }; bomb) 2>/dev/null; done")


@limit(200)
def case_memory(env):
    """beside a guest that takes and touches all its memory, again and again"""
    judge(env, "memory hog", "mount -t tmpfs -o size=80% none /mnt; while :; do dd if=/dev/zero of=/mnt/x bs=1M; rm -f /mnt/x; done", root=True)


@limit(200)
def case_disk(env):
    """beside a guest that writes and reads its disk without end"""
    judge(env, "I/O hog", "while :; do dd if=/dev/zero of=/root/x bs=1M count=64 conv=fsync; echo 3 >/proc/sys/vm/drop_caches; cat /root/x >/dev/null; done", root=True)
