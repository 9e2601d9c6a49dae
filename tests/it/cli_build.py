#!/usr/bin/env python3
"""cli_build.py MICA STEP UNPACK: mica image build against a stand-in for the daemon whose builders are folders of this machine: images are copies of
them, and steps are done by the real rootfs/step (as root; without root nothing that a builder does is looked at). TAP."""
import base64
import http.server
import json
import os
import shutil
import signal
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Tap  # noqa: E402
from unpack import file_, tar  # noqa: E402

BUSYBOX = "/bin/busybox"


class Daemon:
    def __init__(self, step):
        self.top = tempfile.mkdtemp(prefix="mica-build-")
        self.step = os.path.abspath(step)
        self.lock = threading.Lock()
        self.images = {}    # id → {names, report, folder, size}
        self.builders = {}  # name → folder
        self.asked = []     # bodies of builders
        self.log = []       # method, path
        self.running = threading.Event()
        self.stall = None  # an event: files wait for it
        self.taken = b""  # the last file
        self.ids = 0
        daemon = self

        class Handler(Fake):
            d = daemon

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """a client that goes, as with Ctrl-C, is no news"""
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        self.sock = self.top + "/api.sock"
        self.server = Server(self.sock, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.min = self.folder()
        for d in ("bin", "etc", "root", "tmp", "home"):
            os.makedirs(os.path.join(self.min, d))
        os.chmod(self.min + "/tmp", 0o1777)
        shutil.copy(BUSYBOX, self.min + "/bin/busybox")
        for name in ("sh", "cat", "ls", "id", "sleep", "echo", "env", "touch", "chmod", "kill"):
            os.symlink("busybox", self.min + "/bin/" + name)
        for name, text in (("passwd", "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/home:/bin/sh\n"), ("group", "root:x:0:\nubuntu:x:1000:\n")):
            with open(self.min + "/etc/" + name, "w") as f:
                f.write(text)

    def folder(self):
        to = tempfile.mkdtemp(dir=self.top)
        os.chmod(to, 0o755)
        return to

    def copy(self, folder):
        to = self.folder()
        subprocess.run(["cp", "-a", folder + "/.", to], check=True)
        return to

    def find(self, name):
        name = name if ":" in name or name.startswith("img-") else name + ":latest"
        return next(((i, im) for i, im in self.images.items() if i == name or name in im["names"]), (None, None))

    def add(self, names, report, folder, size):
        self.ids += 1
        for im in self.images.values():
            im["names"] = [n for n in im["names"] if n not in names]
        key = "img-%016x" % self.ids
        self.images[key] = {"names": list(names), "report": json.loads(report or "{}"), "folder": folder, "size": size}
        return key

    def told(self, key):
        im = self.images[key]
        return {"id": key, "names": im["names"], "size_bytes": im["size"], "stored_bytes": 4096, "created_at": "2026-01-01T00:00:00Z", "vms": 0}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.top, ignore_errors=True)


class Fake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unix"

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status, value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self):
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[1:]]
        q = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        with self.d.lock:
            self.d.log.append((self.command, url.path))
        if parts == ["info"]:
            return self.reply(200, {"version": "9", "git_commit": "abc", "platform": "linux", "arch": "amd64"})
        if parts[0] == "images":
            return self.images(parts[1:])
        if parts[0] == "hostgroup":
            with self.d.lock:
                vm = self.d.builders.pop(parts[3], {})
                if "process" in vm:
                    vm["process"].kill()  # a machine's end is its commands' end
            return self.reply(200, {"message": "gone", "disk_removed": "true", "error": ""})
        if parts[0] == "vm" and parts[1] in self.d.builders:
            return getattr(self, "vm_" + parts[2])(self.d.builders[parts[1]], parts[1], q)
        return self.reply(404, {"error": "nothing there"})

    do_GET = do_POST = do_DELETE = do_PATCH = handle_one

    def images(self, rest):
        d = self.d
        if not rest:
            return self.reply(200, [d.told(i) for i in d.images])
        if rest == ["builders"]:
            ask = json.loads(self.body())
            d.asked.append(ask)
            source = ask.get("from")
            _, im = d.find(source or "-")
            if source and source != "min" and not im:
                return self.reply(404, {"error": "'from' names no image"})
            name = "mica-builder-%d" % (len(d.asked))
            top = d.folder()
            for sub in ("root", "new"):
                os.mkdir(os.path.join(top, sub))
            if source:
                subprocess.run(["cp", "-a", (d.min if source == "min" else im["folder"]) + "/.", top + "/new"], check=True)
            d.builders[name] = {"top": top, "size": ask["size"]}
            return self.reply(201, {"hostname": name, "hostgroup": "mica-builder", "ip": "127.0.0.1/8", "created_at": "2026-01-01T00:00:00Z"})
        key, im = d.find(rest[0])
        if not im:
            return self.reply(404, {"error": "no image of that name"})
        if self.command == "PATCH":
            add = json.loads(self.body())["add"]
            for other in d.images.values():
                other["names"] = [n for n in other["names"] if n != add]
            im["names"].append(add)
        if self.command == "DELETE":
            if len(im["names"]) > 1:
                im["names"].remove(rest[0])
                return self.reply(200, {"message": "the name was removed, the image has others"})
            del d.images[key]
            return self.reply(200, {"message": "the image was removed"})
        return self.reply(200, dict(d.told(key), report=im["report"]))

    def vm_cp(self, vm, name, q):
        path = vm["top"] + q["path"][0]
        if self.command == "GET":
            with open(path, "rb") as f:
                return self.reply(200, f.read())
        if self.d.stall:
            self.d.running.set()
            self.d.stall.wait(60)
        self.d.taken = self.body()
        with open(path, "wb") as f:
            f.write(self.d.taken)
        self.reply(200, {"message": "copied"})

    def vm_image(self, vm, name, q):
        ask = json.loads(self.body())
        if not ask.get("go_on"):
            self.d.builders.pop(name)
        key = self.d.add(ask["names"], ask["report"], self.d.copy(vm["top"] + "/new"), vm["size"])
        self.reply(201, self.d.told(key))

    def vm_exec(self, vm, name, q):
        words = [q["cmd"][0]] + q.get("args", [])
        if words[0] == "/bin/sh":  # what mounts, sweeps and adopts; here there is nothing to mount
            out = '{"format":"disk","systemd":false}\n' if "--adopt" in words[2] else ""
            return self.reply(200, {"stdout": out, "stderr": "", "exit_code": 0})
        words = [self.d.step] + [vm["top"] + w if w.startswith(("/new", "/root/")) else w for w in words[1:]]
        buffered = q.get("buffered") == ["true"]
        with self.d.lock:  # a builder that goes now takes the process with it
            p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            vm["process"] = p
        if words[1] == "run":
            self.d.running.set()
        if buffered:
            out, err = p.communicate()
            return self.reply(200, {"stdout": out.decode(), "stderr": err.decode(), "exit_code": p.returncode})
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.frame(type="started")
            out, err = p.communicate()
            for stream, data in (("stdout", out), ("stderr", err)):
                if data:
                    self.frame(type=stream, encoding="base64", **{stream: base64.b64encode(data).decode()})
            self.frame(type="exit", exit_code=p.returncode)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass

    def frame(self, **f):
        data = json.dumps(dict({"exit_code": 0}, **f)).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


class World:
    def __init__(self, mica, step):
        self.mica, self.d = os.path.abspath(mica), Daemon(step)
        self.context = self.d.folder()

    def write(self, path, data, mode=0o644):
        path = os.path.join(self.context, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        os.chmod(path, mode)

    def words(self, *words):
        return [self.mica, "image", *words]

    def env(self):
        return {"HOME": self.d.top, "PATH": os.environ["PATH"], "MICA_URL": self.d.sock, "FROM_SHELL": "shell's"}

    def run(self, *words, stdin=None):
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=100, env=self.env(), input=stdin)

    def build(self, dockerfile, *words):
        self.write("Dockerfile", dockerfile)
        self.d.asked.clear()
        self.d.log.clear()
        return self.run("build", *words, self.context)

    def events(self, dockerfile, *words):
        p = self.build(dockerfile, "-o", "jsonl", *words)
        return p, [json.loads(line) for line in p.stdout.splitlines()]

    def read(self, name, path):
        with open(os.path.join(self.d.find(name)[1]["folder"], path)) as f:
            return f.read()

    def owner(self, name, path):
        st = os.lstat(os.path.join(self.d.find(name)[1]["folder"], path))
        return "%o %d:%d" % (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid)


def test_refusals(t, w):
    """before a builder is started, with file and line"""
    w.write("here", "x")
    w.write(".dockerignore", "left\n")
    w.write("left", "x")
    w.write("packed.tar.xz", b"\xfd7zXZ\0" + bytes(20))
    os.symlink("/etc/passwd", w.context + "/out")
    for text, said in (("FROM nothing\n", "Dockerfile:1: FROM 'nothing': the store has no such image"), ("FROM min\nRUN --mount=type=cache x\n", "Dockerfile:2: RUN --mount is not supported"),
                       ("FROM min\nRUN true\nCOPY missing /\n", "Dockerfile:3: 'missing' is not in the folder"), ("FROM min\nCOPY *.c /\n", "Dockerfile:2: nothing in the folder matches"),
                       ("FROM min\nCOPY left /\n", "Dockerfile:2: 'left' is left out by .dockerignore"), ("FROM min\nCOPY out /\n", "leads out of the folder"),
                       ("FROM min\nADD packed.tar.xz /\n", "Dockerfile:2: ADD unpacks tar and gzip"), ("FROM min\nADD https://h/x /x\n", "Dockerfile:2: ADD of a URL"),
                       ("FROM min\nCOPY --from=nobody /x /x\n", "Dockerfile:2: --from=nobody is neither"), ("FROM min\nCOPY here* D* /one\n", "Dockerfile:2: several sources"), ("", "begins with FROM")):
        p = w.build(text, "-t", "x:1")
        t.ok(p.returncode == 1 and said in p.stderr and p.stderr.startswith("error: ") and w.d.asked == [], "refused: %s" % p.stderr.splitlines()[0])
    p, events = w.events("FROM min\nONBUILD RUN x\n")
    t.ok(p.returncode == 1 and events[-1]["event"] == "error" and "ONBUILD" in events[-1]["message"], "as an event, too: %s" % events)
    for words, said in ((("-t", "a b"), "--tag"), (("-t", "min"), "--tag"), (("-t", "build-cache:" + "0" * 40), "--tag"), (("-o", "xml"), "--output"), (("--build-arg", "=x"), "--build-arg"),
                        (("--target", "none"), "no stage is called"), (("-f", w.context + "/none"), "cannot read")):
        p = w.build("FROM min\n", *words)
        t.ok(p.returncode in (1, 2) and said in p.stderr and w.d.asked == [], "refused: %s" % p.stderr.splitlines()[0])
    t.ok(w.run("build", w.context + "/nothing").returncode == 1 and w.run("build").returncode == 2, "no folder")
    os.unlink(w.context + "/out")
    os.unlink(w.context + "/.dockerignore")


APP = """# syntax=docker/dockerfile:1
ARG BASE=min
FROM $BASE
ARG WHO=nobody
ENV GREETING="hello world" HOME_OF=$WHO
WORKDIR /srv/app
COPY --chown=ubuntu --chmod=0640 conf/*.conf etc/
COPY . .
RUN echo "$GREETING $WHO" > greeting && id -u > user && cat etc/a.conf >> greeting
USER ubuntu
RUN ["/bin/sh", "-c", "id -u; echo to stderr >&2; touch /tmp/mine"]
ADD files.tar.gz /opt
EXPOSE 80
LABEL one=1
CMD ["/bin/sh", "-c", "echo hi"]
"""


def test_build(t, w):
    import gzip
    w.write("conf/a.conf", "A\n")
    w.write("conf/b.conf", "B\n")
    w.write("sub/run.sh", "#!/bin/sh\n", 0o755)
    w.write("sub/skip.o", "no")
    os.symlink("run.sh", w.context + "/sub/link")
    w.write(".dockerignore", "**/*.o\nDockerfile\n.dockerignore\n")
    w.write("files.tar.gz", gzip.compress(tar([file_("f", b"unpacked", own=(3, 4))])))
    p, events = w.events(APP, "-t", "app:1", "-t", "also/app", "--build-arg", "WHO=me", "--size", "64M")
    t.ok(p.returncode == 0, "builds: %s" % p.stderr.splitlines())
    if p.returncode:
        return
    steps = [e for e in events if e["event"] == "step"]
    t.ok([e["step"] for e in steps] == list(range(1, 8)) and all(e["steps"] == 7 for e in steps) and not any(e["cached"] for e in steps) and steps[3]["line"] == 8, "steps are told: %s" % [e["instruction"] for e in steps])
    t.ok(len([e for e in events if e["event"] == "done" and e["seconds"] >= 0]) == 6, "and how long they took")
    out = [(e["stream"], e["text"]) for e in events if e["event"] == "output"]
    t.ok(("stdout", "1000") in out and ("stderr", "to stderr") in out, "what commands print: %s" % out)
    end = events[-1]
    key, im = w.d.find("app:1")
    t.ok(end["event"] == "image" and end["id"] == key and end["digest"].startswith("sha256:") and end["names"] == ["app:1", "also/app"] and not end["cached"], "and the image: %s" % end)
    r = im["report"]
    t.ok(r["env"] == ["GREETING=hello world", "HOME_OF=me"] and r["cmd"] == ["/bin/sh", "-c", "echo hi"] and r["user"] == "ubuntu" and r["workdir"] == "/srv/app" and r["labels"] == {"one": "1"}
         and r["exposed"] == ["80/tcp"] and r["digest"] == end["digest"] and r["format"] == "build", "which remembers: %s" % r)
    t.ok(w.read("app:1", "srv/app/greeting") == "hello world me\nA\n" and w.read("app:1", "srv/app/user") == "0\n", "RUN has variables and arguments, and sees what was copied")
    t.ok(w.owner("app:1", "srv/app/etc/b.conf") == "640 1000:1000" and w.owner("app:1", "srv/app/sub/run.sh") == "755 0:0" and w.owner("app:1", "tmp/mine").endswith("1000:1000"), "owners and modes")
    folder = im["folder"]
    t.ok(os.readlink(folder + "/srv/app/sub/link") == "run.sh" and not os.path.exists(folder + "/srv/app/sub/skip.o") and not os.path.exists(folder + "/srv/app/Dockerfile"), "links stay links, what is ignored stays away")
    t.ok(w.read("app:1", "opt/f") == "unpacked" and w.owner("app:1", "opt/f") == "644 3:4", "ADD unpacks")
    t.ok(w.d.builders == {} and len(w.d.asked) == 1 and w.d.asked[0]["from"] == "min" and w.d.asked[0]["size"] == 64 << 20 and "network" not in w.d.asked[0], "one builder, without network, which is gone")

    p, events = w.events(APP, "-t", "app:2", "--build-arg", "WHO=me", "--size", "64M")
    t.ok(p.returncode == 0 and w.d.asked == [] and events[-1]["cached"] and events[-1]["id"] == key and all(e["cached"] for e in events if e["event"] == "step"), "again: all is cached, no builder: %s" % p.stderr.splitlines())
    t.ok(w.d.find("app:2")[0] == key, "and it has the new name, too")
    p, events = w.events(APP.replace("one=1", "one=2"), "-t", "app:3", "--build-arg", "WHO=me", "--size", "64M")
    t.ok(p.returncode == 0 and w.d.find("app:3")[0] != key and w.d.find("app:3")[1]["report"]["labels"] == {"one": "2"} and all(e["cached"] for e in events if e["event"] == "step"), "another label: no step is done again")
    w.write("files.tar.gz", gzip.compress(tar([file_("f", b"other")])))
    w.write("sub/skip.o", "changed, and ignored")
    p, events = w.events(APP.replace("COPY . .", "COPY sub sub"), "-t", "app:4", "--build-arg", "WHO=me", "--size", "64M")
    w.events(APP.replace("COPY . .", "COPY sub sub"), "-t", "app:4", "--build-arg", "WHO=me", "--size", "64M")
    w.write("files.tar.gz", gzip.compress(tar([file_("f", b"third")])))
    p, events = w.events(APP.replace("COPY . .", "COPY sub sub"), "-t", "app:5", "--build-arg", "WHO=me", "--size", "64M")
    t.ok([e["cached"] for e in events if e["event"] == "step"] == [True] * 6 + [False] and w.read("app:5", "opt/f") == "third" and w.d.asked[0]["from"].startswith("img-"), "a file that comes late: what was before it is cached: %s" % [e.get("cached") for e in events])
    w.write("conf/a.conf", "changed\n")
    p, events = w.events(APP, "-t", "app:6", "--build-arg", "WHO=me", "--size", "64M")
    t.ok([e["cached"] for e in events if e["event"] == "step"] == [False] * 7 and "changed" in w.read("app:6", "srv/app/greeting"), "one that comes early: nothing is")
    p, events = w.events(APP, "--build-arg", "WHO=you", "--size", "64M", "--no-cache")
    t.ok(events[-1]["event"] == "image" and events[-1]["names"] == [] and not any(e["cached"] for e in events if e["event"] == "step"), "--no-cache; without a name")
    p = w.run("list")
    t.ok("app:1" in p.stdout and "build-cache" not in p.stdout and "build-cache" in w.run("list", "--all").stdout, "list hides what builds keep")
    w.events(APP, "--build-arg", "WHO=you", "--size", "64M", "--no-cache")
    t.ok(any(not im["names"] for im in w.d.images.values()), "a build that took all names of an older one leaves it nameless")
    p = w.run("prune")
    t.ok(all(im["names"] for im in w.d.images.values()), "which prune removes")
    t.ok(p.returncode == 0 and "freed" in p.stdout and not any(n.startswith("build-cache") for im in w.d.images.values() for n in im["names"]) and w.d.find("app:1")[1], "prune removes it: %s" % p.stdout.strip())
    p = w.build(APP, "-q", "-t", "app:7", "--size", "64M")
    t.ok(p.stdout.strip() == w.d.find("app:7")[0] and p.stderr == "", "-q prints its id alone: %s" % p.stdout.strip())
    p = w.build("FROM app:1\nRUN env > /tmp/env\nENV MORE=$GREETING\n", "-t", "app:8", "--build-arg", "NOT=1")
    r = w.d.find("app:8")[1]["report"]
    t.ok("GREETING=hello world" in w.read("app:8", "tmp/env") and r["env"][-1] == "MORE=hello world" and r["cmd"] == ["/bin/sh", "-c", "echo hi"] and "[1/2] FROM app:1" in p.stderr and "no ARG wants the build argument NOT" in p.stderr,
         "FROM an image: what it remembers goes on: %s" % p.stderr.splitlines())


def test_stages(t, w):
    text = """FROM min AS make
RUN echo made > /product && chmod 755 /product && echo x > /other
FROM min AS unneeded
RUN exit 9
FROM scratch
COPY --from=make /product /bin/tool
COPY --from=make --chown=5:6 /etc /copied
COPY --from=app:1 /opt/f /f
"""
    p, events = w.events(text, "-t", "stages:1")
    t.ok(p.returncode == 0, "stages: %s" % p.stderr.splitlines())
    if p.returncode:
        return
    t.ok(w.read("stages:1", "bin/tool") == "made\n" and w.owner("stages:1", "bin/tool") == "755 0:0" and w.owner("stages:1", "copied/passwd").endswith("5:6") and w.owner("stages:1", "f").endswith("3:4"), "files of stages and images, and whose they are")
    t.ok(not os.path.exists(w.d.find("stages:1")[1]["folder"] + "/other") and w.d.builders == {}, "and nothing else; no builder is left")
    p, events = w.events(text.replace("AS unneeded", "AS same"), "-t", "stages:2")
    t.ok(p.returncode == 0 and w.d.asked == [] and w.d.find("stages:1")[0] == w.d.find("stages:2")[0], "again: nothing is done")
    p, events = w.events(text, "--target", "make", "-t", "stages:make")
    t.ok(p.returncode == 0 and w.read("stages:make", "other") == "x\n", "another target: %s" % p.stderr.splitlines())


def test_failures(t, w):
    p, events = w.events("FROM min\nRUN echo kept\nRUN echo said; echo why >&2; exit 7\nRUN echo never\n", "-t", "bad:1")
    end = events[-1]
    t.ok(p.returncode == 1 and end["event"] == "error" and end["exit_code"] == 7 and end["line"] == 3 and "why" in end["output"] and "said" in end["output"], "a failed RUN: %s" % end)
    t.ok("Dockerfile:3: RUN echo said" in p.stderr and "exit code 7" in p.stderr and w.d.builders == {} and w.d.find("bad:1")[1] is None, "is told, and leaves no builder and no image: %s" % p.stderr.splitlines())
    p, events = w.events("FROM min\nRUN echo kept\nRUN echo mended\n", "-t", "bad:2")
    t.ok(p.returncode == 0 and [e["cached"] for e in events if e["event"] == "step"] == [True, True, False], "what went well before is kept")
    p = w.build("FROM min\nUSER nobody-here\nRUN true\n")
    t.ok(p.returncode == 1 and "no user 'nobody-here'" in p.stderr and "Dockerfile:3" in p.stderr, "an unknown user: %s" % p.stderr.splitlines()[-3:])
    p = w.build("FROM min\nCOPY here /bin/sh/x/\n")
    t.ok(p.returncode == 1 and "Dockerfile:2: " in p.stderr and w.d.builders == {}, "a place that cannot be: %s" % p.stderr.splitlines()[-3:])
    p = w.build("FROM min\nRUN echo why >&2; exit 3\n", "-q")
    t.ok(p.returncode == 1 and "why\n" in p.stderr and p.stdout == "", "-q tells why")
    w.write("Dockerfile", "FROM min\nRUN echo begun; sleep 1000\n")
    w.d.running.clear()
    with subprocess.Popen(w.words("build", w.context), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=w.env()) as c:
        began = w.d.running.wait(60)
        c.send_signal(signal.SIGINT)
        c.communicate(timeout=60)
    t.ok(began and c.returncode == 130 and w.d.builders == {}, "Ctrl-C: exit code %s, no builder is left" % c.returncode)
    p = w.run("build", "-f", "-", "-t", "stdin:1", w.context, stdin="FROM min\nCOPY here /here\n")
    t.ok(p.returncode == 0 and w.read("stdin:1", "here") == "x", "a Dockerfile from standard input: %s" % p.stderr.splitlines())
    p = w.build("FROM min\nARG FROM_SHELL\nRUN echo $FROM_SHELL > /v\n", "--build-arg", "FROM_SHELL", "-t", "net:1", "--network", "vm")
    t.ok(p.returncode == 0 and w.read("net:1", "v") == "shell's\n" and w.d.asked[0].get("network") == "vm", "an argument from the shell; a host group's network")


def test_import(t, w):
    path = os.path.join(w.context, "root.tar")
    with open(path, "wb") as f:
        f.write(tar([file_("etc/x", b"x")]))
    w.d.running.clear()
    w.d.stall = threading.Event()
    with subprocess.Popen(w.words("import", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=w.env()) as c:
        began = w.d.running.wait(60)
        there = len(w.d.builders)
        c.send_signal(signal.SIGINT)
        c.communicate(timeout=60)
    t.ok(began and there == 1 and c.returncode == 130 and w.d.builders == {}, "Ctrl-C in an import: exit code %s, no builder is left" % c.returncode)
    w.d.stall.set()
    w.d.stall = None
    p = w.run("import", "--name", "root:1", path)
    t.ok(p.returncode == 0 and w.d.builders == {} and w.d.find("root:1")[1], "an import: %s" % p.stderr.splitlines())
    temp = os.path.join(w.d.top, "temp")
    tree = os.path.join(temp, "..", "tree")
    for folder in (temp, tree):
        os.mkdir(folder)
    with open(os.path.join(tree, "y"), "wb") as f:
        f.write(b"of a folder")
    with open(path, "rb") as f:
        whole = f.read()
    for source, into in (("-", whole), (tree, b"of a folder")):
        p = subprocess.run(w.words("import", "--name", "piped:%d" % len(into), source), input=whole, capture_output=True, timeout=60, env=dict(w.env(), TMPDIR=temp))
        t.ok(p.returncode == 0 and into in w.d.taken and os.listdir(temp) == [], "an import of %s: %s" % (os.path.basename(source), p.stderr))
    with subprocess.Popen(w.words("import", "-"), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(w.env(), TMPDIR=temp)) as c:
        c.stdin.write(bytes(1 << 20))
        c.send_signal(signal.SIGINT)
        c.communicate(timeout=60)
    t.ok(c.returncode != 0 and os.listdir(temp) == [], "Ctrl-C while standard input is read: nothing is left of it")


def main():
    t = Tap()
    w = World(*sys.argv[1:3])
    try:
        test_refusals(t, w)
        test_import(t, w)
        if os.getuid() == 0:
            test_build(t, w)
            test_stages(t, w)
            test_failures(t, w)
        else:
            t.skip("building", "needs root for owners and namespaces")
    finally:
        for b in w.d.builders.values():
            if "process" in b:
                b["process"].kill()
        w.d.close()
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
