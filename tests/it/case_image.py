"""Images: an archive becomes one inside a builder, and a VM runs from it."""
import io
import json
import os
import sys
import tarfile

from world import Skip, limit, must, same

import unpack  # noqa: E402



def archive(extra=0):
    """A docker-save archive of two layers: busybox, then a whiteout and a greeting; the first with that many bytes of ballast."""
    busybox = open("/bin/busybox", "rb").read()
    names = ["sh", "cat", "ls", "id", "df", "mount", "sync", "sha256sum", "bash"]
    base = unpack.tar([unpack.dir_("bin"), unpack.file_("bin/busybox", busybox, mode=0o755)] + [unpack.sym("bin/" + n, "busybox") for n in names if n != "bash"]
                      + [unpack.file_("bin/bash", b'#!/bin/sh\nexec /bin/sh "$@"\n', mode=0o755), unpack.dir_("etc"), unpack.dir_("root"),
                         unpack.file_("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), unpack.file_("etc/group", b"root:x:0:\n"), unpack.file_("etc/gone", b"x"),
                         unpack.file_("ballast", b"0123456789abcdef" * (extra // 16))])
    top = unpack.tar([unpack.file_("etc/.wh.gone", b""), unpack.file_("etc/hello", b"from an image\n", own=(1000, 7))])
    return unpack.docker([base, top], tags=("hello:1",))


def write(env, name, data):
    path = os.path.join(env.top, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


@limit(400)
def case_import_and_run(env):
    """image import, a host group of it, a VM whose disk lies over it"""
    done = env.cli("image", "import", "--size", "64M", write(env, "hello.tar", archive(17 << 20)), limit_s=300)
    must(done.returncode == 0 and done.stdout.startswith(b"hello:1 img-"), done.stdout, done.stderr)
    must(b"hello:1" in env.cli("image", "list").stdout and b"mica-builder" not in env.cli("vm", "list").stdout)
    done = env.cli("group", "create", "img", "--image", "hello:1", "--ram-mb", "128", "--cpu", "1", "--storage-size", "256M", "--net", "none")
    same(done.returncode, 0, done.stderr)
    done = env.cli("vm", "launch", "img", "--wait", "--timeout", "5m", limit_s=300)
    must(done.returncode == 0, done.stderr)
    done = env.cli("vm", "exec", "img-1", "--", "cat /etc/hello; ls -n /etc/hello; ls /etc/gone; id -u; sha256sum /ballast; echo mine > /root/new && sync; cat /proc/1/comm")
    out = done.stdout.decode()
    must("from an image\n" in out and "1000     7" in out and "gone: No such file" in done.stderr.decode() and "\ninit\n" in out, out, done.stderr)
    folder = os.path.join(env.main.state, "vm", "img-1")
    must(os.path.exists(folder + "/disk.map") and os.stat(folder + "/disk.img").st_blocks * 512 < 8 << 20, "an overlay takes little: %s" % os.listdir(folder))
    done = env.cli("image", "remove", "hello:1")
    must(done.returncode == 1 and b"img-1" in done.stderr + b"img-1" and done.stderr, "an image in use stays")
    same(env.cli("vm", "delete", "img-1").returncode, 0)
    same(env.cli("group", "delete", "img").returncode, 0)
    same(env.cli("image", "remove", "hello:1").returncode, 0)


@limit(300)
def case_broken(env):
    """a cut archive makes no image, and leaves no builder"""
    done = env.cli("image", "import", "--size", "64M", write(env, "cut.tar", archive()[:300000]), limit_s=200)
    must(done.returncode == 1 and b"cut short" in done.stderr, done.stdout, done.stderr)
    must(b"hello" not in env.cli("image", "list").stdout and b"mica-builder" not in env.cli("vm", "list").stdout)


@limit(600)
def case_too_small(env):
    """an image larger than its disk, by bytes and by files: what to do is said, nothing stays; a tar of 20 000 small files"""
    if not env.full:
        raise Skip("takes minutes on an emulated CPU: suite.py -f")
    top = env.folder("small")
    many = os.path.join(top, "many.tar.gz")
    with tarfile.open(many, "w:gz", compresslevel=1) as t:
        for i in range(20000):
            entry = tarfile.TarInfo("etc/many/%d/%d" % (i % 50, i))
            entry.size = 1
            t.addfile(entry, io.BytesIO(b"x"))
    large = os.path.join(top, "large.tar")
    with open(large, "wb") as f:
        f.write(archive(40 << 20))
    before = os.listdir(os.path.join(env.main.state, "images"))
    for path in (large, many):
        done = env.cli("image", "import", "--quiet", "--name", "small:1", "--size", "32M", path, limit_s=200)
        must(done.returncode == 1 and b"larger disk (--size)" in done.stderr, done.stdout, done.stderr)
    must(b"mica-builder" not in env.cli("vm", "list").stdout)
    same(os.listdir(os.path.join(env.main.state, "images")), before, "what is in the store")
    done = env.cli("image", "import", "--quiet", "--name", "many:1", "--size", "2G", many, limit_s=300)
    must(done.returncode == 0, done.stderr)
    same(json.loads(env.cli("image", "inspect", "many:1").stdout)["report"]["entries"], 20000)
    same(env.cli("image", "remove", "many:1").returncode, 0)
