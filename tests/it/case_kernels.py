"""The kernel flavours: which ones the file carries, and what a guest of the flavour `full` can do, by doing it."""
import json
import subprocess

import kernel_audit
from world import Skip, limit, must, same

KEYS = {"name": "fk", "kernel": "full", "vcpu": 2, "ram_mb": 512, "storage_size": "256M", "network": {"mode": "none"}}

# Each line: a name, and commands that must all succeed as root in the guest.
DONE = [
    ("no network device that nobody made", "test $(tail -n +3 /proc/net/dev | wc -l) = 1 && test $(unshare -n cat /proc/net/dev | tail -n +3 | wc -l) = 1"),
    ("overlay on tmpfs", "mkdir -p /t && mount -t tmpfs t /t && mkdir /t/l /t/u /t/w /t/m && echo low >/t/l/a && mount -t overlay o -o "
                         "lowerdir=/t/l,upperdir=/t/u,workdir=/t/w /t/m && echo up >/t/m/a && grep -q up /t/u/a && grep -q low /t/l/a && umount /t/m"),
    ("a bridge with a veth pair", "ip link add br7 type bridge && ip link add v7 type veth && brctl addif br7 v7 && ip link set br7 up && ip link set v7 up && ls "
                                  "/sys/class/net/br7/brif | grep -q v7"),
    ("one end in another namespace", "unshare -n sleep 60 & s=$!; n=0; while test $(readlink /proc/$s/ns/net) = $(readlink /proc/self/ns/net) && test $n -lt "
                                     "100; do n=$((n + 1)); sleep 0.1; done; p=$(ls -d /sys/class/net/veth*) && ip link set ${p##*/} netns $s && ! ls -d "
                                     "/sys/class/net/veth*; r=$?; kill $s; exit $r"),
    ("dummy, wireguard, ifb", "ip link add d7 type dummy && ip link add e7 type dummy && ip link add wg7 type wireguard && ip link add ifb7 type ifb"),
    ("macvlan, ipvlan", "ip link add link d7 mac7 type macvlan && ip link add link e7 ipv7 type ipvlan"),
    ("tun and fuse", "test -c /dev/net/tun && test -c /dev/fuse && tunctl -t tap7 >/dev/null"),
    ("netfilter's bridge hooks", "test $(cat /proc/sys/net/bridge/bridge-nf-call-iptables) = 1 && test -e /proc/sys/net/netfilter/nf_conntrack_max"),
    ("iptables and ip6tables", "test -e /proc/net/ip_tables_matches && test -e /proc/net/ip6_tables_targets && grep -qx addrtype /proc/net/ip_tables_matches && "
                               "grep -qx conntrack /proc/net/ip_tables_matches && grep -qx MASQUERADE /proc/net/ip_tables_targets"),
    ("ipvs", "grep -q 'IP Virtual Server' /proc/net/ip_vs"),
    ("forwarding", "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"),
    ("bpf", "test $(cat /proc/sys/net/core/bpf_jit_enable) = 1 && test $(cat /proc/sys/kernel/unprivileged_bpf_disabled) = 2 && mount -t bpf b /sys/fs/bpf"),
    ("BTF", "test $(head -c 2 /sys/kernel/btf/vmlinux | od -An -tx1 | tr -d ' ') = 9feb && test $(wc -c </sys/kernel/btf/vmlinux) -gt 1000000"),
    ("all namespaces", "unshare -m -u -i -n -p -f -U -r sh -c 'test $(id -u) = 0 && hostname inner && test $(hostname) = inner'"),
    ("user namespaces without root", "cd /tmp && su ubuntu -c 'unshare -U -r id -u' | grep -qx 0"),
    ("memory.max", "cd /sys/fs/cgroup && mkdir -p k/a && echo '+memory +pids' >cgroup.subtree_control && echo '+memory +pids' >k/cgroup.subtree_control && echo "
                   "20M >k/a/memory.max && echo 0 >k/a/memory.swap.max && ! sh -c 'echo $$ >k/a/cgroup.procs; head -c 60m /dev/zero | tail >/dev/null' && grep -q "
                   "'oom_kill [1-9]' k/a/memory.events"),
    ("pids.max", "cd /sys/fs/cgroup/k && mkdir -p b && echo 3 >b/pids.max && ! sh -c 'echo $$ >b/cgroup.procs; sleep 0 | sleep 0 | sleep 0 | sleep 0 | sleep 0' "
                 "2>/dev/null; grep -q 'max [1-9]' b/pids.events"),
    ("freezer", "cd /sys/fs/cgroup/k && mkdir -p c && echo 1 >c/cgroup.freeze && grep -q 'frozen 1' c/cgroup.events && echo 0 >c/cgroup.freeze"),
    ("swap", "dd if=/dev/zero of=/swap bs=1M count=16 2>/dev/null && mkswap /swap >/dev/null && swapon /swap && grep -q /swap /proc/swaps && swapoff /swap && "
             "rm /swap"),
    ("loop", "dd if=/dev/zero of=/t/img bs=1M count=4 2>/dev/null && dev=$(losetup -f) && losetup $dev /t/img && losetup -a | grep -q /t/img && losetup -d $dev"),
    ("binfmt_misc", "mount -t binfmt_misc b /proc/sys/fs/binfmt_misc && grep -q enabled /proc/sys/fs/binfmt_misc/status"),
    ("device mapper", "grep -q device-mapper /proc/misc && test -c /dev/mapper/control"),
    ("mqueue, hugetlbfs, configfs, securityfs", "mkdir -p /t/q /t/h && mount -t mqueue q /t/q && mount -t hugetlbfs h /t/h && mount -t configfs c "
                                                "/sys/kernel/config && mount -t securityfs s /sys/kernel/security"),
    ("no modules", "test ! -e /proc/modules"),
]
FILE_SYSTEMS = "overlay squashfs erofs btrfs xfs vfat iso9660 nfs4 autofs fuse fuseblk virtiofs exfat"
CONTROLLERS = "cpuset cpu io memory hugetlb pids misc"


def carries(env):
    """Is full in this file?"""
    done = subprocess.run([env.mica, "version", "--json"], capture_output=True, env=env.environ(), timeout=60)
    return "kernel-full" in [p["name"] for p in json.loads(done.stdout)["parts"]]


@limit(180)
def case_full(env):
    """kernel: full boots, has what its lists promise, and containers' needs are there by doing them"""
    status, _, body = env.api.call("POST", "/hostgroup", KEYS)
    if not carries(env):
        same(status, 400, body)
        must(b"E_KERNEL_ABSENT" in body and b"make full" in body, "it says what to do", body)
        raise Skip("this build carries no kernel full ('make full' does); that this is said was looked at")
    same(status, 201, body)
    same(json.loads(body)["kernel"], "full")
    status, _, body = env.api.call("POST", "/hostgroup/fk/nodes?wait=agent&timeout=120s", {}, timeout_s=100 * env.patience)
    must(status in (200, 201), "create:", status, body)
    vm = json.loads(body)["hostname"]
    try:
        look(env, vm)
    finally:
        env.api.call("DELETE", "/hostgroup/fk/nodes/" + vm, timeout_s=60)
        env.api.call("DELETE", "/hostgroup/fk", timeout_s=60)


@limit(120)
def case_run(env):
    """mica run --kernel: full where the file has it, else why not; an unknown one is refused; doctor names what is in the file"""
    done = env.alone("run", "--kernel", "huge", "--", "true", limit_s=60)
    same(done.returncode, 125, done.stderr)
    must(b"unknown kernel 'huge'" in done.stderr, done.stderr)
    done = env.alone("run", "--kernel", "full", "--", "cat", "/proc/filesystems", limit_s=100)
    if carries(env):
        same(done.returncode, 0, done.stderr)
        must(b"squashfs" in done.stdout, done.stdout)
    else:
        same(done.returncode, 125, done.stderr)
        must(b"E_KERNEL_ABSENT" in done.stderr and b"make full" in done.stderr, done.stderr)
    done = env.alone("doctor", "--json", limit_s=60)
    same(json.loads(done.stdout)["kvm"]["kernels"], ["min", "emulated"] + ["full"] * carries(env))


def root(env, vm, script):
    return env.api.run(vm, "/bin/sh", ["-c", script], uid=0, gid=0, timeout_s=30 * env.patience)


def look(env, vm):
    code, out, err = root(env, vm, "zcat /proc/config.gz")
    same(code, 0, err)
    wrong = kernel_audit.audit(kernel_audit.read(out.decode()))
    must(not wrong, "the configuration that runs:", wrong)
    for kernel, which in (("full", vm), ("min", env.vm(2))):
        print("# %s: %s" % (kernel, root(env, which, "dmesg | grep 'Run /sbin/init'; uname -v; grep MemTotal /proc/meminfo")[1].decode().replace("\n", "; ")))
    have = root(env, vm, "cat /proc/filesystems")[1].decode().split()
    must(set(FILE_SYSTEMS.split()) <= set(have), "file systems", sorted(set(FILE_SYSTEMS.split()) - set(have)))
    have = root(env, vm, "cat /sys/fs/cgroup/cgroup.controllers")[1].decode().split()
    must(set(CONTROLLERS.split()) <= set(have), "cgroup controllers", have)
    failed = []
    for name, script in DONE:
        code, out, err = root(env, vm, script)
        if code:
            failed.append("%s: %d %s" % (name, code, (out + err)[-300:]))
    must(not failed, "; ".join(failed))
    weak = root(env, vm, "grep -H . /sys/devices/system/cpu/vulnerabilities/*")[1].decode()
    must("retbleed" in weak and "Vulnerable: No" not in weak, "mitigations", weak)
