#!/usr/bin/env python3
"""step.py STEP UNPACK: rootfs/step as it runs in a builder: commands, copies, owners, packing, on a root of its own. Needs root. TAP."""
import io
import gzip
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402
from unpack import dir_, file_, hard, sym, tar  # noqa: E402

BUSYBOX = "/bin/busybox"


class World:
    def __init__(self, step):
        self.top = tempfile.mkdtemp(prefix="mica-step-")
        self.root = self.top + "/root"
        self.step = os.path.abspath(step)
        for d in ("usr/bin", "etc", "tmp", "run", "home/web", "opt"):
            os.makedirs(os.path.join(self.root, d))
        os.symlink("usr/bin", self.root + "/bin")
        os.symlink("/opt", self.root + "/absolute")
        shutil.copy(BUSYBOX, self.root + "/usr/bin/busybox")
        for name in ("sh", "id", "cat", "ls", "pwd", "env", "sleep", "touch", "ps", "mount", "true"):
            os.symlink("busybox", self.root + "/usr/bin/" + name)
        os.chmod(self.root + "/tmp", 0o1777)
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1001:1002:Web:/home/web:/bin/sh\nbad line\n")
        self.write("etc/group", "root:x:0:\nwebs:x:1002:\nextra:x:77:other,web\nmore:x:78:webs,web2\n")

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w") as f:
            f.write(text)

    def ask(self, *fields, **named):
        with open(self.top + "/ask", "wb") as f:
            for key, value in [*named.items(), *fields]:
                f.write(("%s=%s" % (key, value)).encode() + b"\0")
        return self.top + "/ask"

    def call(self, *words):
        return subprocess.run([self.step, *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def run(self, *argv, env=("PATH=/usr/bin:/bin",), **named):
        return self.call("run", self.root, self.ask(*[("arg", a) for a in argv], *[("env", e) for e in env], **named))

    def copy(self, archive, dest, **named):
        with open(self.top + "/tar", "wb") as f:
            f.write(archive)
        return self.call("copy", self.root, self.ask(dest=dest, **named), self.top + "/tar")

    def stat(self, path):
        st = os.lstat(os.path.join(self.root, path))
        return "%o %d:%d" % (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid)

    def read(self, path):
        with open(os.path.join(self.root, path)) as f:
            return f.read()

    def close(self):
        shutil.rmtree(self.top, ignore_errors=True)


def test_run(t, w):
    p = w.run("/bin/sh", "-c", "id; pwd; env; cat /proc/self/status | grep NSpid; ls /dev; mount | grep -c /proc; touch /made /run/gone", workdir="/new/folder")
    out = p.stdout
    t.ok(p.returncode == 0 and out.startswith("uid=0") and "\n/new/folder\n" in out, "root, in a folder that is made: %s" % p.stderr.strip())
    t.ok("PATH=/usr/bin:/bin\n" in out and "HOME=/root\n" in out and len([x for x in out.splitlines() if "=" in x and x[0].isupper()]) == 4, "only its own environment")
    t.ok(all(n in out.split() for n in ("null", "zero", "urandom", "pts", "shm", "tty", "fd")), "devices")
    t.ok(os.path.exists(w.root + "/made") and os.listdir(w.root + "/run") == [] and os.listdir(w.root + "/dev") == [] and os.listdir(w.root + "/proc") == [],
         "what it made stays, what was mounted goes")
    for user, wanted in (("web", "uid=1001(web) gid=1002(webs) groups=77(extra)"), ("1001", "uid=1001(web) gid=1002(webs)"), ("web:extra", "uid=1001(web) gid=77(extra)"),
                         ("5:6", "uid=5 gid=6"), ("4242", "uid=4242 gid=0(root)"), ("0", "uid=0(root)")):
        p = w.run("id", user=user)
        t.ok(set(wanted.replace(",", " ").split()) <= set(p.stdout.replace(",", " ").split()), "as %s: %s%s" % (user, p.stdout.strip(), p.stderr.strip()))
    t.ok("HOME=/home/web" in w.run("env", user="web").stdout and "HOME=/x" in w.run("env", env=("PATH=/bin", "HOME=/x"), user="web").stdout, "HOME is the user's, unless given")
    for user in ("nobody-here", "web:nothing", ":x"):
        p = w.run("true", user=user)
        t.ok(p.returncode == 125 and p.stderr.startswith("error: "), "no such user %s: %s" % (user, p.stderr.strip()))
    t.ok(w.run("sh", "-c", "exit 7").returncode == 7 and w.run("sh", "-c", "kill -9 $$; exit 3").returncode in (3, 137), "exit codes")
    t.ok(w.run("nothing").returncode == 127 and w.run("/etc/passwd").returncode == 126, "not found, not executable")
    p = w.run("sh", "-c", "sleep 1000 & sleep 1000 & echo left")
    t.ok(p.returncode == 0 and p.stdout == "left\n", "what it leaves running ends with it")  # else its pipe would stay open and this would take until the limit
    t.ok(w.run().returncode == 125, "no command")


def test_copy(t, w):
    two = tar([dir_("d", mode=0o711), file_("d/a", b"A", mode=0o755, own=(5, 6)), sym("d/link", "a"), file_("b", b"B")])
    p = w.copy(two, "/opt/x")
    t.ok(p.returncode == 0 and w.read("opt/x/d/a") == "A" and w.stat("opt/x/d/a") == "755 0:0" and w.stat("opt/x/d") == "711 0:0" and w.stat("opt/x") == "755 0:0", "a folder, root's: %s" % p.stderr.strip())
    t.ok(os.readlink(w.root + "/opt/x/d/link") == "a", "links stay links")
    p = w.copy(two, "/home/web/app/", chown="web")
    t.ok(p.returncode == 0 and w.stat("home/web/app/d/a") == "755 1001:1002" and w.stat("home/web/app") == "755 1001:1002" and w.stat("home/web") == "755 0:0", "somebody's, with the new folders: %s" % p.stderr.strip())
    p = w.copy(two, "/opt/y", owners="", chmod=str(0o640))
    t.ok(p.returncode == 0 and w.stat("opt/y/d/a") == "640 5:6" and w.stat("opt/y/d") == "640 0:0", "owners as they are, another mode: %s" % p.stderr.strip())
    one = tar([file_("f", b"one", mode=0o600)])
    t.ok(w.copy(one, "/opt/name", single="").returncode == 0 and w.read("opt/name") == "one" and w.stat("opt/name") == "600 0:0", "a file by a new name")
    t.ok(w.copy(one, "/opt/x", single="").returncode == 0 and w.read("opt/x/f") == "one", "a file into a folder that is there")
    t.ok(w.copy(one, "/opt/z/", single="").returncode == 0 and w.read("opt/z/f") == "one", "or is meant")
    t.ok(w.copy(one, "/f", single="", chown="7:8").returncode == 0 and w.stat("f") == "600 7:8", "into the root")
    t.ok(w.copy(one, "/bin/", single="").returncode == 0 and w.read("usr/bin/f") == "one" and os.path.islink(w.root + "/bin"), "through a link")
    t.ok(w.copy(one, "/absolute/in/", single="").returncode == 0 and w.read("opt/in/f") == "one" and not os.path.exists("/opt/in/f"), "through an absolute one, within the image")
    p = w.copy(tar([dir_("bin", mode=0o700), file_("bin/g", b"G"), dir_("tmp", mode=0o755), file_("tmp/.wh.x", b"plain")]), "/")
    t.ok(p.returncode == 0 and w.read("usr/bin/g") == "G" and os.path.islink(w.root + "/bin") and w.stat("tmp") == "1777 0:0", "over a whole root: links and modes of folders stay: %s" % p.stderr.strip())
    t.ok(w.read("tmp/.wh.x") == "plain", "a file called .wh. is a file")
    p = w.copy(tar([file_("d", b"no")]), "/opt/x/")
    t.ok(p.returncode == 125 and "is a folder in the image" in p.stderr, "a file does not replace a folder: %s" % p.stderr.strip())
    p = w.copy(one, "/etc/passwd/x/", single="")
    t.ok(p.returncode == 125 and "a file of that name" in p.stderr, "nor does a folder a file: %s" % p.stderr.strip())
    p = w.copy(gzip.compress(tar([dir_("p", own=(3, 4)), file_("p/q", b"Q", mode=0o4755, own=(3, 4)), hard("p/r", "p/q")])), "/opt/add", owners="")
    t.ok(p.returncode == 0 and w.stat("opt/add/p/q") == "4755 3:4" and os.stat(w.root + "/opt/add/p/r").st_nlink == 2, "a packed archive, with a hard link: %s" % p.stderr.strip())
    for what, data in (("a cut one", one[:514]), ("what is none", b"no tar" * 200)):
        p = w.copy(data, "/opt/cut", single="")
        t.ok(p.returncode == 125, "%s is refused: %s" % (what, p.stderr.strip()))
    t.ok(w.copy(tar([file_("../out", b"x")]), "/opt").returncode == 125 and not os.path.exists(w.root + "/out"), "as is one that leads out")
    t.ok(w.call("folder", w.root, w.ask(dest="/w/o/r/k")).returncode == 0 and w.stat("w/o/r/k") == "755 0:0", "WORKDIR")
    t.ok(w.call("folder", w.root, w.ask(dest="/etc/passwd/x")).returncode == 125, "but not below a file")


def test_pack(t, w):
    w.write("opt/single", "S")
    os.chown(w.root + "/opt/single", 11, 12)
    os.symlink("/opt/single", w.root + "/to-single")
    for path, kind, names in (("/opt/x", "folder", {"d/a": 0, "b": 0}), ("/to-single", "file", {"to-single": 11}), ("/absolute/single", "file", {"single": 11})):
        p = w.call("pack", w.root, path, w.top + "/out")
        with open(w.top + "/out", "rb") as f:
            with tarfile.open(fileobj=io.BytesIO(f.read())) as a:
                got = {m.name.lstrip("./"): m.uid for m in a.getmembers()}
        t.ok(p.returncode == 0 and p.stdout.strip() == kind and all(got.get(n) == u for n, u in names.items()), "pack %s: %s %s" % (path, got, p.stderr))
    t.ok(w.call("pack", w.root, "/nothing", w.top + "/out").returncode == 125 and w.call("pack", w.root, "/../etc/x", w.top + "/out").returncode == 125, "what is not there")
    shutil.copy(w.top + "/out", w.top + "/keep")
    with open(w.top + "/keep", "rb") as f:
        t.ok(w.copy(f.read(), "/again", single="", owners="").returncode == 0 and w.read("again") == "S" and w.stat("again").endswith("11:12"), "and comes back as it was")


def main():
    t = Tap()
    if os.getuid() != 0:
        t.skip("step", "needs root for owners and namespaces")
        return t.done()
    w = World(sys.argv[1])
    try:
        if "namespaces" in w.run("true").stderr:
            t.skip("commands", "no namespaces may be made here")
        else:
            test_run(t, w)
        test_copy(t, w)
        test_pack(t, w)
        t.ok(w.call().returncode == 125 and w.call("run", "/nowhere", "x").returncode == 125 and w.call("run", w.root, "/nowhere").returncode == 125, "asked wrongly")
    finally:
        w.close()
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
