"""The cage of a real guest's vmm on a live host: `mica ps`, its cgroup's limits, and that an honest guest never meets them."""
import json
import os
import subprocess

from client import wait_for
from world import Skip, limit, must, same


def hierarchy():
    with open("/proc/self/mountinfo") as f:
        for line in f:
            if " - cgroup2 " in line and line.split()[3] == "/":
                return line.split()[4]
    return None


def vmm_of(env, vm):
    done = env.cli("ps", "--json")
    same(done.returncode, 0, done.stderr)
    return next((p for p in json.loads(done.stdout)["processes"] if p["process"] == "vmm" and p["vm"] == vm), None)


def group_of(env, vm):
    """its folder, where memory, CPU and tasks can be limited"""
    top, said = hierarchy(), vmm_of(env, vm)
    must(said, "mica ps shows %s" % vm)
    if os.geteuid() or not top or not os.path.exists(top + said["cgroup"] + "/memory.max"):
        raise Skip("no cgroup v2 with a memory controller here")
    return said, top + said["cgroup"]


def read(path, name):
    with open(os.path.join(path, name)) as f:
        return f.read().strip()


DISK = 256 << 20  # of the suite's VMs


def in_memory(env):
    """bytes of the disk that count as memory: all of them where the state folder is in a tmpfs"""
    with open("/proc/mounts") as f:
        points = [line.split()[1:3] for line in f]
    return DISK if max((p for p in points if (env.main.state + "/").startswith(p[0].rstrip("/") + "/")), key=lambda p: len(p[0]))[1] == "tmpfs" else 0


@limit(90)
def case_limits(env):
    """its cgroup bounds memory, CPU and tasks, its threads are filtered, and the group goes with the VM"""
    vm = env.main.create(cpus=2)
    said, group = group_of(env, vm)
    ram = next(n["ram_bytes"] for n in env.api.get("/nodes") if n["hostname"] == vm)
    same(said["limits"], {"memory_bytes": ram + ram // 32 + (256 << 20) + in_memory(env), "cpu_percent": 300, "cpu_weight": 100, "tasks": 34,
                          "io_bytes_per_s": None, "io_per_s": None}, said)
    must(said["threads"] == said["threads_filtered"] >= 4 and said["capabilities"] == "none" and said["no_new_privs"], said)
    must(str(said["pid"]) in read(group, "cgroup.procs").split(), "it is in it")
    same(read(group, "memory.oom.group"), "1")
    env.main.delete(vm)
    wait_for(lambda: not os.path.exists(group), 10)


@limit(120)
def case_io(env):
    """where the state folder lies on a disk, the kernel bounds what a VM reads and writes there (io.max), too"""
    if os.geteuid():
        raise Skip("needs root to mount a disk of its own")
    top = env.folder("io")
    folder, disk = os.path.join(top, "disk"), os.path.join(top, "disk.img")
    os.makedirs(folder)
    with open(disk, "wb") as f:
        f.truncate(400 << 20)
    mke2fs = next(([p] if p.endswith("mke2fs") else [p, "mke2fs"] for p in ("/sbin/mke2fs", "/bin/busybox") if os.path.exists(p)), None)
    if not mke2fs or subprocess.run([*mke2fs, "-F", disk], capture_output=True).returncode or subprocess.run(["mount", "-o", "loop", disk, folder], capture_output=True).returncode:
        raise Skip("no loop device can be mounted here")
    os.chmod(folder, 0o755)
    daemon = env.daemon("iom", 31, dir=folder, disk="64M\n    disk_bytes_per_s: 8M")
    try:
        with open(daemon.file) as f:
            text = f.read()
        with open(daemon.file, "w") as f:
            f.write(text.replace("config:\n", "config:\n  vm_io_iops: 500\n", 1))
        daemon.start()
        vm = daemon.create(cpus=1)
        said, group = group_of(env, vm)
        if not os.path.exists(group + "/io.max"):
            raise Skip("no io controller in the unified hierarchy here")
        same((said["limits"]["io_bytes_per_s"], said["limits"]["io_per_s"]), (10 << 20, 500), said)
        must("rbps=10485760 wbps=10485760 riops=500 wiops=500" in read(group, "io.max"), read(group, "io.max"))
        status, out, err = daemon.api.sh(vm, "head -c 3000000 /dev/urandom >/root/x && sync && echo written", timeout_s=60)
        same((status, out), (0, b"written\n"), err)
        same(daemon.delete(vm)[0], 200)
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", folder])


@limit(180)
def case_hog(env):
    """a guest that uses all its memory and writes to its disk stays below its limit"""
    vm = env.main.create(cpus=1)
    _, group = group_of(env, vm)
    done = env.cli("vm", "exec", "--uid", "0", vm, "--", "mount -t tmpfs -o size=90% none /mnt 2>/dev/null; dd if=/dev/zero of=/mnt/x bs=1M count=4096 2>/dev/null; rm -f /mnt/x; "
                   "dd if=/dev/zero of=/root/y bs=1M count=192 2>/dev/null && sync && dd if=/root/y of=/dev/null bs=1M 2>/dev/null && echo done", limit_s=120)
    must(done.returncode in (0, 125, 137), done.stdout + done.stderr)
    events = dict(line.split() for line in read(group, "memory.events").splitlines())
    same((events["oom"], events["oom_kill"]), ("0", "0"), events)
    must(vmm_of(env, vm), "the VM lives")
    env.main.delete(vm)
