#!/usr/bin/env python3
"""walls.py BIN-FOLDER: the real daemon with one real vmm (its guest only halts), and what /proc says of each process, beside the table in api/THREATS.md
and beside `mica ps`. Needs root and /dev/kvm. TAP on stdout."""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")
CAPS = {"dac_override": 1, "kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8, "net_bind_service": 10, "net_admin": 12, "sys_ptrace": 19, "sys_admin": 21,
        "sys_resource": 24}
KINDS = ("vcpu", "disk", "diskio", "net")  # of a vmm's threads
tap = Tap()


def documented():
    """process → column → text"""
    with open(os.path.join(HERE, "../../api/THREATS.md"), encoding="utf-8") as f:
        lines = [[c.strip() for c in l.strip().strip("|").split("|")] for l in f if l.startswith("|")]
    head = next(l for l in lines if l[-1] == "system calls")
    rows = lines[lines.index(head) + 2:]
    return {r[0]: dict(zip(head, r)) for r in rows[:10]}


def halting_kernel():
    """an ELF with a PVH entry whose code is: cli; again: hlt; jmp again"""
    at, code = 0x200000, b"\xfa\xf4\xeb\xfd"
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", at)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, at, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0x1000, at, at, len(code), len(code), 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 0x200, 0, 0, len(note), len(note), 4)
    return ((head + load + notes).ljust(0x200, b"\0") + note).ljust(0x1000, b"\0") + code.ljust(0x1000, b"\0")


def text(pid, name):
    with open("/proc/%s/%s" % (pid, name), errors="replace") as f:
        return f.read()


def status(pid, key, thread=None):
    return re.search(r"^%s:[ \t]*(.*)$" % key, text(pid, "task/%s/status" % thread if thread else "status"), re.M)[1]


def children(pid):
    found = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            if status(p, "PPid") == str(pid):
                name = text(p, "cmdline").split("\0")[0]
                if name and os.path.basename(name) != "mica":  # not one that has just ended, nor the supervisor's own child that asks for the watchdog
                    found[name] = int(p)
        except (OSError, TypeError):
            pass
    return found


def own_namespaces(pid, beside):
    return [n for n in NAMESPACES if os.readlink("/proc/%d/ns/%s" % (pid, n)) != os.readlink("/proc/%d/ns/%s" % (beside, n))]


def caps_of(mask):
    return set() if mask == "none" else {CAPS[c] for c in mask.split(",")}


def bits(mask):
    return {i for i in range(64) if int(mask, 16) >> i & 1}


def caps_wanted(row, beside):
    """as written; a host that has already taken something from root (a container) cannot give it"""
    want = caps_of(row["capabilities"])
    if row["process"] == "netd" and os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        want |= {CAPS["dac_override"]}
    return want & bits(status(beside, "CapPrm"))


def check(row, pid, beside):
    name = row["process"]
    want = caps_wanted(row, beside)
    for which in ("CapEff", "CapPrm", "CapBnd"):
        tap.ok(bits(status(pid, which)) == want, "%s: %s is what is written: %s" % (name, which, sorted(bits(status(pid, which)))))
    tap.ok(bits(status(pid, "CapInh")) == bits(status(pid, "CapAmb")) == set(), "%s: nothing is handed on" % name)
    uid = int(row["uid"].split()[0])
    tap.ok(set(status(pid, "Uid").split()) == {str(uid)} and status(pid, "Groups").split() in ([], ["0"] if uid == 0 else []),
           "%s: uid %s, groups %s" % (name, status(pid, "Uid"), status(pid, "Groups")))
    own = own_namespaces(pid, beside)
    tap.ok(own == ([] if row["own namespaces"] == "-" else row["own namespaces"].split()), "%s: own namespaces %s" % (name, own))
    modes = {status(pid, "Seccomp", t) for t in os.listdir("/proc/%d/task" % pid)}
    tap.ok(modes == {"2"} and row["seccomp"] == "filter", "%s: every thread is behind a filter: %s" % (name, modes))
    tap.ok(status(pid, "NoNewPrivs") == "1" and row["no_new_privs"] == "yes", "%s: no new privileges" % name)
    if name in ("front", "gate", "vmm"):
        tap.ok(os.listdir("/proc/%d/root" % pid) == [], "%s: its root is empty" % name)
    tap.ok(os.getpriority(os.PRIO_PROCESS, pid) == (-5 if name in ("front", "core") else 0), "%s: front and core are preferred, VMs are not" % name)
    tap.ok(os.stat("/proc/%d/fd/0" % pid).st_rdev == os.makedev(1, 3), "%s: nothing on standard input" % name)


def check_ps(row, said, pid, beside):
    name = row["process"]
    if not tap.ok(said is not None, "mica ps: %s is there" % name):
        return
    own = [n for n in NAMESPACES if said["namespaces"][n] == "own"]
    tap.ok(said["pid"] == pid and str(said["uid"]) == row["uid"].split()[0] and caps_of(said["capabilities"]) == caps_wanted(row, beside) and said["no_new_privs"] is True and
           own == ([] if row["own namespaces"] == "-" else row["own namespaces"].split()) and said["threads"] == said["threads_filtered"] > 0 and
           str(said["syscalls"]["process"]) == row["system calls"], "mica ps: %s as written: %s" % (name, said))
    tap.ok(said["landlock"] in (row["Landlock"], "not in this kernel"), "mica ps: %s: Landlock: %s" % (name, said["landlock"]))


def wait_for(what, limit_s=15):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.05)
    return None


def vmm_of(jail):
    """once its guest runs: then its main thread has a second filter of its own"""
    pid = children(jail).get("mica-vmm")
    return pid if pid and status(pid, "Seccomp_filters") == "2" and len(os.listdir("/proc/%d/task" % pid)) >= 3 else None


def look(mica, up, lines):
    table = documented()
    tap.ok(wait_for(lambda: any("is up" in l for l in lines)), "the daemon is up: %s" % lines)
    stack = children(up.pid)
    vmm = wait_for(lambda: vmm_of(stack["jail"]))
    if not tap.ok(vmm, "a vmm runs its guest: %s" % lines):
        return
    ps = json.loads(subprocess.run([mica, "ps", "--json"], capture_output=True, text=True, check=True).stdout)["processes"]
    for name, pid in dict(stack, vmm=vmm).items():
        check(table[name], pid, up.pid)
        check_ps(table[name], next((p for p in ps if p["pid"] == pid and p["process"] == name), None), pid, up.pid)
    said = next(p for p in ps if p["pid"] == vmm)
    tap.ok(said["vm"] == "vm-1" and [said["syscalls"][k] for k in KINDS] == [int(table["vmm " + k]["system calls"]) for k in KINDS],
           "mica ps: the VM's name, and the calls of its threads")
    words = subprocess.run([mica, "ps"], capture_output=True, text=True).stdout
    tap.ok("vmm vm-1" in words and "supervisor" in words and "sys_admin" in words, "mica ps for people:\n# " + words.replace("\n", "\n# "))


def main():
    if os.geteuid() or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        tap.skip("walls", "needs root and /dev/kvm")
        return tap.done()
    top = tempfile.mkdtemp(prefix="mica-walls.", dir="/var/tmp")
    os.chmod(top, 0o755)
    for name, data in (("kernel/min/vmlinux", halting_kernel()), ("image/min.ext4", bytes(1 << 20)),
                       ("m.yaml", b"config:\n  host_groups:\n  - {name: vm, count: 1, vcpu: 2, ram_mb: 64, network: {mode: none}}\n  api: {socket: %s/api}\n" % top.encode())):
        os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
        with open(os.path.join(top, name), "wb") as f:
            f.write(data)
    shutil.copytree(sys.argv[1], top + "/bin")
    lines = []
    # its own network, so that netd has nothing of this host's under its hands
    up = subprocess.Popen(["unshare", "-n", top + "/bin/mica", "up", top + "/m.yaml", "--state", top + "/state", "--flavour", "min"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=top)
    threading.Thread(target=lambda: lines.extend(up.stdout), daemon=True).start()
    try:
        look(top + "/bin/mica", up, lines)
    finally:
        for _ in range(2):
            up.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        tap.ok(up.wait(20) == 0, "stopped")
        shutil.rmtree(top, ignore_errors=True)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
