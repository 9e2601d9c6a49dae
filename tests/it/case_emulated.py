"""On a /dev/kvm that interprets kernel code: the emulated kernel flavour, chosen by probing. Few cases, for it is slow."""
import json
import os

from world import limit, must, same


@limit(90)
def case_run(env):
    """mica run -- uname -a, exit code passed through"""
    done = env.alone("run", "--", "sh", "-c", "uname -a; exit 5", limit_s=80)
    same(done.returncode, 5, done.stderr)
    must(done.stdout.startswith(b"Linux "), done.stdout)


@limit(60)
def case_doctor(env):
    """doctor says which flavour and why"""
    done = env.alone("doctor", limit_s=50)
    must(b"emulated" in (done.stdout + done.stderr), done.stdout, done.stderr)


@limit(120)
def case_up(env):
    """mica up: launch, health, exec, copy in and out, delete"""
    name = env.vm()
    same(env.api.get("/vm/%s/health" % name)["hostname"], name)
    same(env.api.run(name, "/bin/sh", ["-c", "cat; echo e >&2; exit 3"], stdin=b"in\0out"), (3, b"in\0out", b"e\n"))
    data = os.urandom(200000)
    same(env.api.upload(name, "/tmp/f", data)[0], 200)
    must(env.api.download(name, "/tmp/f")[2] == data, "copy")
    status, _, body = env.main.delete(name)
    same((status, json.loads(body)["error"]), (200, ""))
    del env.vms[1]


@limit(60)
def case_no_full(env):
    """the kernel full cannot boot here: said before a VM is made, with why"""
    done = env.alone("run", "--kernel", "full", "--", "true", limit_s=50)
    same(done.returncode, 125, done.stderr)
    must(b"[E_KVM_EMULATED]" in done.stderr and b"'emulated' boots here" in done.stderr, done.stderr)
