"""Commits and forks: a stopped VM's disk is kept, and VMs that start from it are other machines."""
import json
import os
import time

from client import wait_for
from world import limit, must, same

MARK = "echo kept > /root/mark && echo mother > /etc/hostname && echo 0123456789abcdef0123456789abcdef > /etc/machine-id && echo '127.0.1.1 mother' > /etc/hosts && sync"


def sh(env, vm, text):
    done = env.cli("vm", "exec", vm, "--uid", "0", "--", text)
    same(done.returncode, 0, "%s: %s" % (text, done.stderr))
    return done.stdout.decode()


@limit(300)
def case_fork(env):
    """commit, two forks: both see the file, neither what the other writes; hostname, machine-id, address and MAC are their own"""
    done = env.cli("vm", "launch", "--cpus", "1", "--tag", "team=a", "--userdata", "echo once >> /root/userdata", "--wait-userdata", "--timeout", "3m", "--json", limit_s=200)
    same(done.returncode, 0, done.stderr)
    mother = json.loads(done.stdout)["hostname"]
    sh(env, mother, MARK)
    want = sh(env, mother, "dd if=/dev/urandom of=/root/ballast bs=1M count=18 2>/dev/null && sync && sha256sum /root/ballast")  # more than is copied
    done = env.cli("vm", "commit", mother)
    must(done.returncode == 1 and b"not stopped" in done.stderr, "a VM that runs is not committed", done.stderr)
    same(env.cli("vm", "shutdown", mother).returncode, 0)
    begin = time.monotonic()
    done = env.cli("vm", "commit", mother, "--tag", "golden", "--label", "app=web", "--cache-key", "k1", "--quiet", limit_s=120)
    same(done.returncode, 0, done.stderr)
    ident = done.stdout.decode().strip()
    print("# committed in %.3f s" % (time.monotonic() - begin))
    must(ident.encode() in env.cli("vm", "commit", "list", "--tag", "golden").stdout, "the list has it")
    begin = time.monotonic()
    done = env.cli("vm", "fork", ident, "--wait", "--timeout", "3m", "--quiet", limit_s=200)
    same(done.returncode, 0, done.stderr)
    a = done.stdout.decode().strip()
    print("# forked and ready in %.3f s" % (time.monotonic() - begin))
    done = env.cli("vm", "fork", ident, "--wait", "--timeout", "3m", "--rm", "--name", "other", "--json", limit_s=200)
    same(done.returncode, 0, done.stderr)
    b = json.loads(done.stdout)
    same((b["commit_id"], b["source_hostname"], b["child_status"], b["persistent"]), (ident, mother, "running", False), "fork")
    b = b["hostname"]
    facts = {}
    for name in (a, b):
        same(sh(env, name, "cat /root/mark /root/userdata"), "kept\nonce\n", "what the mother had, and userdata not again")
        facts[name] = sh(env, name, "hostname; cat /etc/hostname /etc/machine-id; cat /sys/class/net/eth0/address; ip addr show eth0 | grep 'inet '").split("\n")
        same(facts[name][0], name, "hostname")
        same(facts[name][1], name, "/etc/hostname")
        hosts = sh(env, name, "cat /etc/hosts").split()
        must(name in hosts and "mother" not in hosts, "/etc/hosts", hosts)
        folder = os.path.join(env.main.state, "vm", name)
        same(sh(env, name, "sha256sum /root/ballast"), want, "the rest of the disk")
        must(not os.path.exists(folder + "/disk.map") or os.stat(folder + "/disk.img").st_blocks * 512 < 8 << 20, "an overlay takes little: %s" % os.listdir(folder))
    must(all(x != y for x, y in zip(facts[a][:5], facts[b][:5])), "two machines", facts)
    must(facts[a][2] != "0123456789abcdef0123456789abcdef" and len(facts[a][2]) == 32, "machine-id", facts)
    sh(env, a, "echo a > /root/mine; echo a > /root/mark; sync")
    same(sh(env, b, "cat /root/mark; ls /root/mine 2>/dev/null || echo none"), "kept\nnone\n", "writes do not meet")
    done = env.cli("vm", "commit", "delete", ident)
    must(done.returncode == 1 and b"delete the VM first" in done.stderr, "a parent stays", done.stderr)
    same(env.cli("vm", "relaunch", mother).returncode, 0)
    same(env.cli("vm", "ready", mother, "--timeout", "3m", limit_s=200).returncode, 0)
    same(sh(env, mother, "cat /root/mark; hostname; ls /root/mine 2>/dev/null || echo none"), "kept\n%s\nnone\n" % mother, "the mother runs on as she was")
    same(env.cli("vm", "shutdown", b).returncode, 0)
    must(wait_for(lambda: b not in [n["hostname"] for n in env.api.get("/nodes")], 10 * env.patience), "an ephemeral fork is gone")
    same(env.cli("vm", "shutdown", a).returncode, 0)
    same(env.cli("vm", "relaunch", a).returncode, 0)
    same(env.cli("vm", "ready", a, "--timeout", "3m", limit_s=200).returncode, 0)
    same(sh(env, a, "cat /root/mark /etc/machine-id").split("\n")[:2], ["a", facts[a][2]], "a fork keeps what it wrote")
    for name in (a, mother):
        same(env.cli("vm", "delete", name).returncode, 0)
    same(env.cli("vm", "commit", "delete", ident).returncode, 0)
    same(json.loads(env.cli("vm", "commit", "list", "--json").stdout), [], "nothing is left")
