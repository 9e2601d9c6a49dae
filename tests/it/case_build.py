"""image build: a Dockerfile becomes an image inside builders, and a VM of it has its files."""
import hashlib
import http.server
import json
import os
import shutil
import threading

import case_image
from world import Skip, limit, must, same

DOCKERFILE = """FROM min
ARG WHO=nobody
ENV GREETING="hello from a build" WHO=$WHO
WORKDIR /srv/app
COPY --chown=ubuntu --chmod=0640 data .
COPY run.sh /usr/local/bin/
RUN run.sh "$GREETING" && chown 5:7 /etc/greeting && mkdir -p /var/own && chown ubuntu /var/own
USER ubuntu
RUN id -un > /var/own/who && echo $WHO >> /var/own/who && ! nc -w 2 192.0.2.1 80 </dev/null
CMD ["/bin/sh", "-c", "echo $GREETING"]
"""


def context(env, name="context"):
    top = os.path.join(env.top, name)
    os.makedirs(os.path.join(top, "data"), exist_ok=True)
    for path, data, mode in (("Dockerfile", DOCKERFILE, 0o644), ("data/one", "1\n", 0o644), ("data/two.o", "2\n", 0o644), ("run.sh", '#!/bin/sh\necho "$1" | tee /etc/greeting\n', 0o755),
                             (".dockerignore", "**/*.o\n", 0o644)):
        with open(os.path.join(top, path), "w") as f:
            f.write(data)
        os.chmod(os.path.join(top, path), mode)
    return top


def build(env, top, *words):
    done = env.cli("image", "build", "-o", "jsonl", "--size", "64M", "--ram-mb", "256", *words, top, limit_s=400)
    return done, [json.loads(line) for line in done.stdout.splitlines()]


SCRATCH = """FROM scratch
COPY root /
ENV WHO=scratch
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox echo $WHO > /made && /bin/busybox ln -s busybox /bin/sh"]
RUN echo again >> /made
"""
NETWORK = """FROM min
RUN printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 60 %s %d > /fetched; grep 'from the host' /fetched
"""


@limit(400)
def case_from_scratch(env):
    """image build FROM scratch: what was copied in is all there is, and the agent; a VM of it"""
    top = os.path.join(env.folder("scratch"), "context")
    os.makedirs(os.path.join(top, "root", "bin"))
    os.mkdir(os.path.join(top, "root", "etc"))
    with open(os.path.join(top, "Dockerfile"), "w") as f:
        f.write(SCRATCH)
    shutil.copy("/bin/busybox", os.path.join(top, "root", "bin", "busybox"))
    with open(os.path.join(top, "root", "etc", "passwd"), "w") as f:
        f.write("root:x:0:0::/root:/bin/sh\n")
    done, events = build(env, top, "-t", "scratch:1", "--no-cache")
    must(done.returncode == 0, done.stdout[-2000:], done.stderr)
    same(env.cli("group", "create", "bare", "--image", "scratch:1", "--ram-mb", "128", "--cpu", "1", "--storage-size", "64M", "--net", "none").returncode, 0)
    done = env.cli("vm", "launch", "bare", "--wait", "--timeout", "5m", limit_s=300)
    must(done.returncode == 0, done.stderr)
    vm = done.stdout.decode().split("Hostname:")[1].split()[0]
    done = env.cli("vm", "exec", "--shell", "/bin/sh", "--uid", "0", vm, "--", "b=/bin/busybox; $b cat /made; $b ls /bin /; $b cat /proc/1/comm")
    out = done.stdout.decode().split()
    must(done.returncode == 0 and out[:2] == ["scratch", "again"] and "busybox" in out and out[-1] == "init" and "sbin" not in out, out, done.stderr)
    same(env.cli("vm", "delete", vm).returncode, 0)
    same(env.cli("group", "delete", "bare").returncode, 0)
    same(env.cli("image", "remove", "scratch:1").returncode, 0)
    same(env.cli("image", "prune").returncode, 0)


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the host\n")

    def log_message(self, *args):
        pass


@limit(400)
def case_network(env):
    """image build --network GROUP: its commands reach what the group's VMs reach; without it nothing"""
    gateway = "10.99.1.1"
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        top = os.path.join(env.folder("network"), "context")
        os.makedirs(top)
        with open(os.path.join(top, "Dockerfile"), "w") as f:
            f.write(NETWORK % (gateway, server.server_address[1]))
        before = env.cli("vm", "list", "--json").stdout
        done, events = build(env, top, "-t", "fetched:1", "--no-cache", "--network", env.main.group)
        must(done.returncode == 0, done.stdout[-2000:], done.stderr)
        names = lambda text: sorted(v["hostname"] for v in json.loads(text))
        same(names(env.cli("vm", "list", "--json").stdout), names(before), "no builder is left")
        done, events = build(env, top, "-t", "fetched:2", "--no-cache")
        must(done.returncode != 0 and events[-1]["event"] == "error", "without a network it fails", done.stdout[-1000:])
    finally:
        server.shutdown()
    must(b"fetched:2" not in env.cli("image", "list").stdout)
    same(env.cli("image", "remove", "fetched:1").returncode, 0)
    same(env.cli("image", "prune").returncode, 0)


BALLAST = 17 << 20  # more than core would rather copy: then steps lie over the image
OVER = """FROM ballast:1
USER 0
RUN echo one > /one && sha256sum /ballast > /sum
RUN cat /one > /two && echo three >> /ballast
RUN busybox tail -c 6 /ballast > /end
"""


@limit(600)
def case_over_image(env):
    """image build over a large image: a step takes what it changed, holds the image it stands on, and another build goes on from it"""
    if not env.full:
        raise Skip("takes minutes on an emulated CPU: suite.py -f")
    path = os.path.join(env.folder("over"), "ballast.tar")
    with open(path, "wb") as f:
        f.write(case_image.archive(BALLAST))
    done = env.cli("image", "import", "--quiet", "--size", "64M", "--name", "ballast:1", path, limit_s=300)
    must(done.returncode == 0, done.stderr)
    top = os.path.join(env.folder("over2"), "context")
    os.makedirs(top)
    with open(os.path.join(top, "Dockerfile"), "w") as f:
        f.write(OVER)
    done, events = build(env, top, "-t", "over:1", "--no-cache")
    must(done.returncode == 0, done.stdout[-2000:], done.stderr)
    listed = json.loads(env.cli("image", "list", "--all", "--json").stdout)
    steps = [i for i in listed if i["names"] and all(n.startswith("build-cache:") for n in i["names"])]
    base = [i for i in listed if "ballast:1" in i["names"]][0]
    must(len(steps) == 2, listed)
    shares = os.path.exists(os.path.join(env.main.state, "images", steps[0]["id"], "disk.map"))
    if shares:
        must(all(s["stored_bytes"] < 4 << 20 < base["stored_bytes"] for s in steps), "a step takes little:", steps, base)
        done = env.cli("image", "remove", "ballast:1")
        must(done.returncode == 1 and b"mica image prune" in done.stderr, done.stderr)
    with open(os.path.join(top, "Dockerfile"), "w") as f:
        f.write(OVER + 'RUN ["/bin/sh", "-c", "cat /two /end; cat /sum; ls /etc/hello"]\n')
    done, events = build(env, top, "-t", "over:2")
    must(done.returncode == 0 and sum(1 for e in events if e["event"] == "step" and e["cached"]) >= 3, done.stdout[-2000:], done.stderr)
    out = [e["text"] for e in events if e["event"] == "output"]
    digest = hashlib.sha256(b"0123456789abcdef" * (BALLAST // 16)).hexdigest()
    same(out[:2] + [o.split()[0] for o in out[2:3]] + out[3:], ["one", "three", digest, "/etc/hello"])
    for name in ("over:1", "over:2"):
        same(env.cli("image", "remove", name).returncode, 0)
    same(env.cli("image", "prune").returncode, 0)
    done = env.cli("image", "remove", "ballast:1")
    same(done.returncode, 0, done.stderr)


@limit(500)
def case_build_and_run(env):
    """image build twice, the second time all is cached; a VM of it has its files, owners and what its image remembers"""
    top = context(env)
    done, events = build(env, top, "-t", "built:1", "--build-arg", "WHO=me", "--no-cache")
    must(done.returncode == 0, done.stdout[-2000:], done.stderr)
    end = events[-1]
    must(end["event"] == "image" and end["names"] == ["built:1"] and any(e["event"] == "output" and e["text"] == "hello from a build" for e in events), events)
    done, events = build(env, top, "-t", "built:2", "--build-arg", "WHO=me")
    must(done.returncode == 0 and events[-1]["id"] == end["id"] and all(e["cached"] for e in events if e["event"] == "step"), done.stdout[-2000:], done.stderr)
    must(b"mica-builder" not in env.cli("vm", "list").stdout and b"build-cache" not in env.cli("image", "list").stdout)
    report = json.loads(env.cli("image", "inspect", "built:1").stdout)["report"]
    same((report["env"], report["cmd"], report["user"], report["workdir"]), (["GREETING=hello from a build", "WHO=me"], ["/bin/sh", "-c", "echo $GREETING"], "ubuntu", "/srv/app"))
    done = env.cli("group", "create", "built", "--image", "built:1", "--ram-mb", "128", "--cpu", "1", "--storage-size", "64M", "--net", "none")
    same(done.returncode, 0, done.stderr)
    done = env.cli("vm", "launch", "built", "--wait", "--timeout", "5m", limit_s=300)
    must(done.returncode == 0, done.stderr)
    vm = done.stdout.decode().split("Hostname:")[1].split()[0]
    done = env.cli("vm", "exec", vm, "--", "cat /etc/greeting /var/own/who; stat -c '%a %u:%g %n' /etc/greeting /srv/app/one /srv/app /usr/local/bin/run.sh /var/own/who; ls /srv/app; hostname")
    same(done.stdout.decode().split("\n"), ["hello from a build", "ubuntu", "me", "644 5:7 /etc/greeting", "640 1000:1000 /srv/app/one", "755 0:0 /srv/app", "755 0:0 /usr/local/bin/run.sh",
                                             "644 1000:1000 /var/own/who", "one", vm, ""], "files and owners")
    same(env.cli("vm", "delete", vm).returncode, 0)
    same(env.cli("group", "delete", "built").returncode, 0)
    for name in ("built:1", "built:2"):
        same(env.cli("image", "remove", name).returncode, 0)
    same(env.cli("image", "prune").returncode, 0)
    must(end["id"].encode() not in env.cli("image", "list", "--all").stdout, "prune leaves no image behind")
