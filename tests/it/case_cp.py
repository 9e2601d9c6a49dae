"""GET and POST /vm/{h}/cp: contract 1.9."""
import hashlib
import io
import json
import os
import tarfile
import time

from client import query
from world import Skip, limit, must, same


def stat(env, path):
    return env.api.sh(env.vm(), "stat -c '%%a %%u %%g %%s' '%s'" % path)[1].decode().strip()


def case_binary_both_ways(env):
    """a file goes in and comes out, byte for byte"""
    data = os.urandom(300001)
    same(env.api.upload(env.vm(), "/tmp/cp-a", data)[0], 200)
    status, headers, back = env.api.download(env.vm(), "/tmp/cp-a")
    same((status, back == data), (200, True))
    must("application/octet-stream" in headers["content-type"], headers)
    must(int(headers["x-slicer-file-mode"], 8) & 0o777, headers)
    same(env.api.sh(env.vm(), "sha256sum </tmp/cp-a")[1].split()[0].decode(), hashlib.sha256(data).hexdigest(), "hash in the guest")


def case_empty_file(env):
    """an empty file, and mode left out"""
    status, _, _ = env.api.call("POST", query("/vm/%s/cp" % env.vm(), path="/tmp/cp-empty"), body=b"")
    same(status, 200)
    status, _, back = env.api.call("GET", query("/vm/%s/cp" % env.vm(), path="/tmp/cp-empty"))
    same((status, back), (200, b""))


def case_owner_and_permissions(env):
    """uid, gid and permissions of an upload; the default user without them"""
    env.api.upload(env.vm(), "/tmp/cp-own", b"x", uid=1234, gid=2345, permissions="0640")
    same(stat(env, "/tmp/cp-own"), "640 1234 2345 1")
    env.api.upload(env.vm(), "/tmp/cp-def", b"xy")
    same(stat(env, "/tmp/cp-def").split()[1:], ["1000", "1000", "2"])
    env.api.upload(env.vm(), "/tmp/cp-root", b"xyz", uid=0, gid=0, permissions="0600")
    same(stat(env, "/tmp/cp-root"), "600 0 0 3")
    _, headers, _ = env.api.download(env.vm(), "/tmp/cp-root")
    same(headers["x-slicer-file-mode"], "0600")


def case_replaces(env):
    """a second upload replaces the first, shorter one after longer"""
    env.api.upload(env.vm(), "/tmp/cp-rep", b"long long long")
    env.api.upload(env.vm(), "/tmp/cp-rep", b"short")
    same(env.api.download(env.vm(), "/tmp/cp-rep")[2], b"short")


def case_home_path(env):
    """~/x is in the default user's home; missing parents are made"""
    same(env.api.upload(env.vm(), "~/deep/er/f", b"here")[0], 200)
    same(env.api.sh(env.vm(), "cat /home/ubuntu/deep/er/f")[1], b"here")


def case_chunked_upload(env):
    """a chunked request body"""
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/cp" % env.vm(), path="/tmp/cp-chunk", mode="binary"), chunked=True)
        for size in (1, 2, 4095, 4096, 65537):
            conn.chunk(b"z" * size)
        conn.last_chunk()
        same(conn.response().status, 200)
    same(stat(env, "/tmp/cp-chunk").split()[3], str(1 + 2 + 4095 + 4096 + 65537))


def make_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, mode, data in (("d", tarfile.DIRTYPE, 0o755, b""), ("d/run.sh", tarfile.REGTYPE, 0o755, b"#!/bin/sh\necho ran\n"),
                                       ("plain", tarfile.REGTYPE, 0o644, b"p" * 5000), ("skip.log", tarfile.REGTYPE, 0o644, b"log")):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.mtime = kind, mode, len(data), 1700000000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def case_tar_in(env):
    """a tar goes in: contents, x bits, mtime, owner, exclude"""
    status, body = env.api.upload(env.vm(), "/tmp/tree", make_tar(), mode="tar", uid=1000, gid=1000, exclude="*.log")
    same(status, 200, body)
    same(env.api.sh(env.vm(), "/tmp/tree/d/run.sh; wc -c </tmp/tree/plain; ls /tmp/tree")[1].split(), [b"ran", b"5000", b"d", b"plain"])
    same(env.api.sh(env.vm(), "stat -c '%u %g %Y' /tmp/tree/plain")[1], b"1000 1000 1700000000\n")


def case_tar_out(env):
    """a folder comes out as ustar, names relative to it and clean"""
    env.api.sh(env.vm(), "mkdir -p /tmp/out/sub/deep; echo 1 >/tmp/out/one; echo 2 >/tmp/out/sub/deep/two; chmod 755 /tmp/out/one; echo l >/tmp/out/x.log")
    status, headers, body = env.api.download(env.vm(), "/tmp/out", mode="tar", exclude="*.log")
    same(status, 200)
    must("application/x-tar" in headers["content-type"], headers)
    same(body[257:262], b"ustar", "magic")
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        names = sorted(m.name.rstrip("/") for m in tar)
        same([n for n in names if n not in ("sub", "sub/deep")], ["one", "sub/deep/two"])
        for member in tar:
            must(not member.name.startswith(("/", "./")) and ".." not in member.name.split("/"), "clean name", member.name)
        same(tar.extractfile("sub/deep/two").read(), b"2\n")
        must(tar.getmember("one").mode & 0o111, "x bit")


def case_tar_round_trip(env):
    """in, out, in again: the same tree"""
    env.api.upload(env.vm(), "/tmp/rt1", make_tar(), mode="tar")
    body = env.api.download(env.vm(), "/tmp/rt1", mode="tar")[2]
    same(env.api.upload(env.vm(), "/tmp/rt2", body, mode="tar")[0], 200)
    listing = "cd /tmp/%s && find . -type f -exec sha256sum {} + | sort"
    same(env.api.sh(env.vm(), listing % "rt1")[1], env.api.sh(env.vm(), listing % "rt2")[1])


def case_long_names(env):
    """a path of 200 and one of 240 characters survive the tar"""
    deep = "/".join(["n" * 60] * 3)
    env.api.sh(env.vm(), "mkdir -p /tmp/long/%s && echo deep >/tmp/long/%s/%s" % (deep, deep, "f" * 56))
    body = env.api.download(env.vm(), "/tmp/long", mode="tar")[2]
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        must(deep + "/" + "f" * 56 in tar.getnames(), tar.getnames())


def evil_tar(name, kind=tarfile.REGTYPE, link=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("link" if link else name)
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
            info = tarfile.TarInfo(name)
        info.type, info.size = kind, 4
        tar.addfile(info, io.BytesIO(b"evil"))
    return out.getvalue()


def case_tar_escapes(env):
    """a tar that climbs out (.., absolute, through a symlink) writes nothing outside"""
    for tar in (evil_tar("../escaped"), evil_tar("/tmp/escaped"), evil_tar("a/../../escaped"), evil_tar("link/escaped", link="/tmp")):
        status, body = env.api.upload(env.vm(), "/tmp/jail/in", tar, mode="tar", uid=0)
        must(status == 200 or 400 <= status < 500, "status", status, body)
    same(env.api.sh(env.vm(), "ls -d /tmp/escaped /tmp/jail/escaped 2>/dev/null")[1], b"", "escaped files")


def case_tar_broken(env):
    """a body that is no tar, and one cut off: 4xx, and the VM goes on"""
    good = make_tar()
    for body in (b"\x00" * 100, os.urandom(4096), good[:700]):
        status, answer = env.api.upload(env.vm(), "/tmp/broken", body, mode="tar")
        must(status >= 400, "status", status)
        must(json.loads(answer)["error"], answer)
    same(env.api.sh(env.vm(), "echo alive")[1], b"alive\n")


def case_missing(env):
    """download of what is not there: 404; of a folder as binary: 400"""
    status, _, body = env.api.download(env.vm(), "/tmp/not-there")
    same(status, 404)
    must(json.loads(body)["error"], body)
    status, _, body = env.api.download(env.vm(), "/etc", mode="binary")
    same(status, 400, body)
    must(b"must specify a file not a directory" in body, body)


def case_modes(env):
    """an unknown mode: 400; cp-v1 modes work or are refused by the exact text"""
    status, _, body = env.api.download(env.vm(), "/etc/passwd", mode="zip")
    same(status, 400, body)
    status, headers, body = env.api.call("GET", query("/vm/%s/cp" % env.vm(), path="/etc/passwd", mode="cp-v1-binary", copy_semantics="cp-v1"))
    if status == 200:
        same(headers["x-slicer-source-type"], "file")
        must(headers["x-slicer-source-name-base64"], headers)
    else:
        same(status, 400)
        must(b"invalid mode: cp-v1-binary" in body, body)


def case_to_nowhere(env):
    """an upload that cannot be written (below a file, to a folder's name, no right): 4xx or 5xx with a sentence"""
    for path, params in (("/etc/passwd/x", {"uid": 0}), ("/tmp", {"uid": 0}), ("/root/x", {})):
        status, body = env.api.upload(env.vm(), path, b"data" * 1000, **params)
        must(status >= 400, path, status)
        must(json.loads(body)["error"], body)


def case_unknown_vm(env):
    """cp to an unknown VM: 404, also when the body is large"""
    same(env.api.upload("it-999", "/tmp/x", b"x")[0], 404)
    same(env.api.download("it-999", "/tmp/x")[0], 404)


@limit(180)
def case_large(env):
    """a large file in and out with equal hash"""
    size = (256 if env.full else 16) << 20
    block = os.urandom(1 << 20)
    sent = hashlib.sha256()
    with env.api.conn(180) as conn:
        conn.start("POST", query("/vm/%s/cp" % env.vm(2), path="/tmp/large", mode="binary"), {"Content-Length": str(size)})
        for at in range(size >> 20):
            piece = block[at % 97:] + block[:at % 97]
            sent.update(piece)
            conn.raw(piece)
        same(conn.response().status, 200)
    back, total = hashlib.sha256(), 0
    with env.api.conn(180) as conn:
        for piece in conn.call("GET", query("/vm/%s/cp" % env.vm(2), path="/tmp/large", mode="binary")).pieces():
            back.update(piece)
            total += len(piece)
    same((total, back.hexdigest()), (size, sent.hexdigest()))
    env.api.sh(env.vm(2), "rm /tmp/large")


def case_disconnect_upload(env):
    """a client that leaves in the middle of an upload: the file that was there is kept, nothing half-written stays"""
    env.api.upload(env.vm(), "/tmp/half/f", b"before", uid=0)
    with env.api.conn() as conn:
        conn.start("POST", query("/vm/%s/cp" % env.vm(), path="/tmp/half/f", mode="binary", uid=0), {"Content-Length": "10000000"})
        conn.raw(b"y" * 500000)
        time.sleep(0.5)
    time.sleep(1)
    same(env.api.sh(env.vm(), "cat /tmp/half/f; ls -A /tmp/half | wc -l")[1], b"before1\n")


def case_disconnect_download(env):
    """a client that leaves in the middle of a download"""
    env.api.sh(env.vm(), "head -c 8000000 /dev/zero >/tmp/dl")
    with env.api.conn() as conn:
        reply = conn.call("GET", query("/vm/%s/cp" % env.vm(), path="/tmp/dl", mode="binary"))
        next(reply.pieces())
    same(env.api.sh(env.vm(), "rm /tmp/dl; echo alive")[1], b"alive\n")


@limit(120)
def case_guest_disk_full(env):
    """an upload larger than the guest's disk: an error, and the disk is usable again"""
    room_kib = int(env.api.sh(env.vm(), "df -k / | tail -1 | awk '{print $4}'")[1])
    if room_kib > (600 << 10):
        raise Skip("the guest's disk has %d MiB free" % (room_kib >> 10))
    size = (room_kib << 10) + (8 << 20)
    with env.api.conn(120) as conn:
        conn.start("POST", query("/vm/%s/cp" % env.vm(), path="/var/fill", mode="binary", uid=0), {"Content-Length": str(size)})
        try:
            for _ in range(size >> 20):
                conn.raw(b"f" * (1 << 20))
            conn.raw(b"f" * (size & ((1 << 20) - 1)))
        except OSError:
            pass
        reply = conn.response()
        must(reply.status >= 400, "status", reply.status)
        must(json.loads(reply.read())["error"], "sentence")
    same(env.api.sh(env.vm(), "ls /var/fill 2>/dev/null; echo x >/var/y && cat /var/y")[1], b"x\n")
