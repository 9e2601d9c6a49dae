"""A user without root who is in the group of /dev/kvm: the main job and `mica run`, and what he is told that he goes without."""
import filecmp
import json
import os
import shutil
import subprocess

from client import wait_for
from world import Skip, limit, must, same

UID, KVM_GID = 4242, 36


def device(env):
    """A node of /dev/kvm that root and a group may open, in a tmpfs of this suite, whatever the machine's own looks like; (path, gid)"""
    at = os.stat("/dev/kvm")
    if at.st_mode & 0o060 == 0o060 and at.st_gid:
        return "/dev/kvm", at.st_gid
    folder = os.path.join(env.top, "dev")
    os.makedirs(folder, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "dev", folder], capture_output=True).returncode:
        raise Skip("no tmpfs can be mounted for a device node")
    path = os.path.join(folder, "kvm")
    try:
        os.mknod(path, 0o020660, at.st_rdev)
        os.chown(path, 0, KVM_GID)
        os.chmod(path, 0o660)
        os.close(os.open(path, os.O_RDWR))
    except OSError as e:
        subprocess.run(["umount", "-l", folder])
        raise Skip("no device node can be made here: %s" % e)
    return path, KVM_GID


class User:
    def __init__(self, env):
        if os.geteuid():
            raise Skip("needs root to become another user")
        self.env, self.home = env, os.path.join(env.top, "user")
        self.kvm, self.gid = device(env)
        os.makedirs(self.home)
        self.mica = os.path.join(self.home, "mica")
        shutil.copy(env.mica, self.mica)
        os.chmod(self.mica, 0o755)
        os.chown(self.home, UID, UID)
        try:
            same(self.run("true", alone=True).returncode, 0)
        except (OSError, subprocess.SubprocessError) as e:
            raise Skip("no other user can be become here: %s" % e)

    def become(self):
        return dict(user=UID, group=UID, extra_groups=[self.gid], cwd=self.home, env={"PATH": os.environ["PATH"], "HOME": self.home, "LANG": "C.UTF-8"})

    def run(self, *words, alone=False, limit_s=90):
        return subprocess.run([*([] if alone else [self.mica]), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s * self.env.patience, **self.become())

    def good(self, *words, **how):
        done = self.run(*words, **how)
        same(done.returncode, 0, " ".join(words) + ": " + done.stdout + done.stderr)
        return done.stdout

    def done(self):
        if self.kvm != "/dev/kvm":
            subprocess.run(["umount", "-l", os.path.dirname(self.kvm)])
        shutil.rmtree(self.home, ignore_errors=True)


@limit(240)
def case_main_job(env):
    """without root, in the group of /dev/kvm: launch, copy in, exec, copy out, delete; he is told what he goes without"""
    user = User(env)
    up = None
    try:
        with open(os.path.join(user.home, "mica.yaml"), "w") as f:
            f.write(user.good("new", "job", "--count", "0", "--cpu", "1", "--ram-mb", "128", "--storage-size", "256M", "--socket", "./api.sock"))
        with open(os.path.join(user.home, "up.log"), "w") as log:
            up = subprocess.Popen([user.mica, "up", "mica.yaml", "--kvm", user.kvm], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **user.become())

        def said():
            with open(log.name) as f:
                return f.read()
        must(wait_for(lambda: up.poll() is None and user.run("info", "--url", "./api.sock").returncode == 0, 60 * env.patience, 0.2), "the daemon answers:", said())
        for words in ("no network (not root)", "no network for VMs", "processes of VMs have your user id", "rlimits alone"):
            must(words in said(), "told: " + words, said())
        os.makedirs(os.path.join(user.home, "in", "sub"))
        for n in range(20):
            with open(os.path.join(user.home, "in", "sub", str(n)), "wb") as f:
                f.write(os.urandom(1000 * n))
        url = ("--url", "./api.sock")
        vm = json.loads(user.good("vm", "launch", "job", "--wait", "--json", *url))["hostname"]
        user.good("vm", "cp", "-r", "in", vm + ":in", *url)
        done = user.run("vm", "exec", vm, *url, "--", "id -un; cp -r in out; exit 42")
        same((done.returncode, done.stdout), (42, "ubuntu\n"), done.stderr)
        user.good("vm", "cp", "-r", vm + ":out", ".", *url)
        same(filecmp.cmpfiles(os.path.join(user.home, "in", "sub"), os.path.join(user.home, "out", "sub"), [str(n) for n in range(20)], shallow=False)[1:], ([], []), "files that came back")
        vmm = next(p for p in json.loads(user.good("ps", "--json"))["processes"] if p["process"] == "vmm" and p["vm"] == vm and p["uid"] == UID)
        same((vmm["capabilities"], vmm["threads"]), ("none", vmm["threads_filtered"]), vmm)
        user.good("vm", "delete", vm, *url)
        same(json.loads(user.good("vm", "list", "--json", *url)), [])
        up.terminate()
        same(up.wait(30 * env.patience), 0, said())
    finally:
        if up and up.poll() is None:
            up.kill()
            up.wait()
        user.done()


@limit(120)
def case_run(env):
    """the same user's `mica run`: exit code, files in and out, nothing left"""
    user = User(env)
    try:
        os.makedirs(os.path.join(user.home, "in"))
        with open(os.path.join(user.home, "in", "a"), "w") as f:
            f.write("text\n")
        done = user.run("run", "--kvm", user.kvm, "--cp", "in:in", "--out", "out:out", "-q", "--", "sh", "-c", "mkdir out; sed s/text/changed/ in/a > out/a; exit 7")
        same(done.returncode, 7, done.stdout + done.stderr)
        with open(os.path.join(user.home, "out", "a")) as f:
            same(f.read(), "changed\n")
        if user.kvm != "/dev/kvm":
            os.chmod(user.kvm, 0o600)
            done = user.run("run", "--kvm", user.kvm, "--", "true")
            must(done.returncode == 125 and "E_KVM_DENIED" in done.stderr and "fix:" in done.stderr, "out of the group he is told how to join:", done.returncode, done.stderr)
    finally:
        user.done()
