"""Recipes: services in a Debian guest, reached from the host through `mica vm forward`. Started by heavy.sh, which brings the clients, too."""
import contextlib
import os
import re
import socket
import subprocess
import sys

from client import wait_for
from debian import HERE, guest
from world import Skip, limit, must, same

sys.argv, kept = sys.argv[:1], sys.argv
import unpack  # noqa: E402

sys.argv = kept
TAR = "services.tar.gz"


@contextlib.contextmanager
def forward(env, d, to):
    """A port of this host that leads to that one of the guest's 127.0.0.1, or to that socket."""
    to = "127.0.0.1:%d" % to if isinstance(to, int) else to
    proc = subprocess.Popen([env.mica, "vm", "forward", d.vm, "-L", "127.0.0.1:0:" + to], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            cwd=env.top, env=env.environ(MICA_URL=d.daemon.sock))
    try:
        line = proc.stdout.readline().decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        must(found, "vm forward said:", line)
        yield int(found.group(1))
    finally:
        proc.terminate()
        proc.wait()


def client(name, *args, limit_s, **env):
    """A program of the guest's packages on this host."""
    here = os.path.join(HERE, "host")
    if not os.path.exists(os.path.join(here, name)):
        raise Skip("no %s beside the suite (tests/it/heavy.sh brings it)" % name)
    done = subprocess.run([here + "/ld.so", "--library-path", here + "/lib", os.path.join(here, name), *map(str, args)], capture_output=True, timeout=limit_s,
                          env=dict(os.environ, HOME="/", **env))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def busybox():
    with open(next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), "rb") as f:
        return f.read()


def layer():
    return unpack.tar([unpack.dir_("bin"), unpack.file_("bin/busybox", busybox(), mode=0o755), unpack.sym("bin/sh", "busybox"), unpack.dir_("etc"), unpack.dir_("www"),
                       unpack.file_("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), unpack.file_("www/index.html", b"from a container\n")])


def image(name, cmd=("/bin/sh",)):
    """docker save of local.example/NAME:1, a busybox image made here."""
    made = layer()
    return unpack.docker([made], tags=("local.example/%s:1" % name,), conf=unpack.config([made], config={"Env": ["PATH=/bin"], "Cmd": list(cmd)}))


def fetch(port, limit_s):
    """What the web server at that port of this host says, with its headers; nothing when it breaks off."""
    got = b""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=limit_s) as s:
        s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        while piece := s.recv(4096):
            got += piece
    return got


def send(env, d, data, path):
    here = os.path.join(env.top, "sent")
    with open(here, "wb") as f:
        f.write(data)
    done = d.cli("vm", "cp", here, "%s:%s" % (d.vm, path))
    same(done.returncode, 0, done.stderr)


@limit(900)
def case_boot(env):
    """a Debian with PostgreSQL, Redis, Docker and containerd boots with nothing failed"""
    d = guest(env, TAR, 1024)
    print("# " + d.root("systemd-analyze | head -1")[1].strip())
    print("# " + "; ".join(d.root("systemd-analyze blame | head -6")[1].split("\n")))


@limit(200)
def case_postgresql(env):
    """PostgreSQL: pgbench of the host through vm forward; what it wrote is there"""
    d = guest(env, TAR, 1024)
    d.answers("pg_lsclusters -h", "online")
    code, out, err = d.root("cd /; su postgres -c \"psql -qc \\\"create role bench login password 'secret'\\\" -c 'create database bench owner bench'\"")
    same(code, 0, err)
    rounds = 20 if env.patience > 1 else 1000
    with forward(env, d, 5432) as port:
        at = ("-h", "127.0.0.1", "-p", port, "-U", "bench")
        code, out, err = client("pgbench", *at, "-i", "-s", 1, "-q", "bench", limit_s=60 * env.patience, PGPASSWORD="secret")
        must(code == 0 and "done" in err, code, out, err)
        code, out, err = client("pgbench", *at, "-c", 2, "-j", 1, "-t", rounds, "bench", limit_s=60 * env.patience, PGPASSWORD="secret")
        must(code == 0 and "number of transactions actually processed: %d/%d" % (2 * rounds, 2 * rounds) in out, code, out, err)
        print("# pgbench: " + "; ".join(line for line in out.splitlines() if "tps" in line or "latency average" in line))
        code, out, err = client("pgbench", *at, "-i", "bench", limit_s=60 * env.patience, PGPASSWORD="wrong")
        must(code != 0 and "password authentication failed" in err, "a wrong password:", code, out, err)
    same(d.root("cd /; su postgres -c \"psql -Atc 'select count(*) from pgbench_history' bench\"")[1], "%d\n" % (2 * rounds))


@limit(120)
def case_redis(env):
    """Redis: redis-benchmark of the host through vm forward; a key of it stands in the guest, also after a restart of the service"""
    d = guest(env, TAR, 1024)
    d.answers("redis-cli ping", "PONG")
    with forward(env, d, 6379) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
            s.sendall(b"SET greeting hello\r\nSAVE\r\n")
            got = b""
            while got.count(b"\r\n") < 2:
                got += s.recv(4096)
            same(got, b"+OK\r\n+OK\r\n")
        code, out, err = client("redis-benchmark", "-h", "127.0.0.1", "-p", port, "-n", 500 if env.patience > 1 else 20000, "-c", 5, "-t", "set,get", "--csv",
                                limit_s=60 * env.patience)
        must(code == 0 and '"SET"' in out and '"GET"' in out, code, out, err)
        print("# redis-benchmark, requests/s: " + "; ".join(",".join(line.split(",")[:2]) for line in out.splitlines() if line.startswith(('"SET"', '"GET"'))))
    same(d.root("systemctl restart redis-server")[0], 0)
    d.answers("redis-cli get greeting", "hello")


def full(d):
    if d.kernel != "full":
        raise Skip("containers want kernel full, which is not in this build of mica")


@limit(300)
def case_docker(env):
    """Docker: an image from a local archive, a container's output and exit code, one that serves a port"""
    d = guest(env, TAR, 1024)
    full(d)
    d.answers("systemctl is-active docker; docker info -f '{{.Driver}} {{.CgroupVersion}}'", "active", limit_s=100)
    send(env, d, layer(), "/home/ubuntu/busy.tar")
    code, out, err = d.exec("docker import busy.tar busy:import", limit_s=100)
    must(code == 0 and out.startswith("sha256:"), code, out, err)
    code, out, err = d.exec("docker info -f '{{.Driver}} cgroup{{.CgroupVersion}}'; docker run --rm --network none --memory 64m busy:import /bin/busybox sh -c "
                            "'id -u; cat /www/index.html; cat /sys/fs/cgroup/memory.max; exit 9'", limit_s=120)
    same((code, out), (9, "overlay2 cgroup2\n0\nfrom a container\n67108864\n"), err)
    code, out, err = d.exec("docker run -d --name web -p 8080:80 busy:import /bin/busybox httpd -f -p 80 -h /www", limit_s=120)
    must(code == 0, out, err)
    with forward(env, d, 8080) as port:
        served = wait_for(lambda: b"from a container" in fetch(port, 20), 60 * env.patience, 0.5)
        must(served, "the container's web server", d.exec("docker logs web; docker ps -a")[1])
    same(d.exec("docker rm -f web", limit_s=100)[1], "web\n")
    d.settled()


@limit(200)
def case_containerd(env):
    """containerd and runc: ctr takes a docker-save archive and runs it"""
    d = guest(env, TAR, 1024)
    full(d)
    d.answers("systemctl is-active containerd; ctr version", "Server:")
    send(env, d, image("busy"), "/home/ubuntu/busy-saved.tar")
    code, out, err = d.root("ctr image import /home/ubuntu/busy-saved.tar && ctr image ls -q", limit_s=100)
    must(code == 0 and "local.example/busy:1" in out, out, err)
    code, out, err = d.root("ctr run --rm local.example/busy:1 one /bin/busybox sh -c 'echo in-$(hostname | wc -c); cat /www/index.html; exit 5'", limit_s=120)
    must(code == 5 and "from a container" in out, code, out, err)
