"""What people do with containers, in a Debian guest with kernel full: Docker, docker-compose, podman, and a guest that builds an image which mica then imports.
guest_docker.sh does it there. Started by heavy.sh."""
import contextlib
import os
import urllib.request

from case_services import send
from case_systemd import back
from client import wait_for
from debian import HERE, guest
from world import Skip, limit, must, same
import unpack

TAR = "docker.tar.gz"
APPLETS = "sh cat echo id mount httpd wget ip sleep true false head tail test mkdir chmod grep df touch ls wc ps seq unshare hostname nslookup nc sed"
brought = []
# busybox's wget does not live without the libraries it was made with.
GET = b"""#!/bin/sh
ip=$1
case $ip in [0-9]*) ;; *) ip=$(nslookup "$1" | sed -n '/^Name/{n;s/.*: //p;q}') ;; esac
[ -n "$ip" ] && printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "${2:-index.html}" | nc -w "${3:-20}" "$ip" 80
"""


def image():
    """docker save of local.example/busy:1 with the commands that guest_docker.sh calls."""
    with open(next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), "rb") as f:
        busybox = f.read()
    layer = unpack.tar([unpack.dir_("bin"), unpack.file_("bin/busybox", busybox, mode=0o755), *(unpack.sym("bin/" + name, "busybox") for name in APPLETS.split()), unpack.file_("bin/get", GET, mode=0o755),
                        unpack.dir_("etc"), unpack.dir_("www"), unpack.file_("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), unpack.file_("www/index.html", b"from a container\n")])
    return unpack.docker([layer], tags=("local.example/busy:1",), conf=unpack.config(
        [layer], config={"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}, history=[{"created_by": "made here"}]))  # podman build counts the layers in it


def ready(env):
    d = guest(env, TAR, 1024)
    if d.kernel != "full":
        raise Skip("containers want kernel full, which is not in this build of mica")
    if not brought:
        send(env, d, image(), "/home/ubuntu/busy.tar")
        with open(os.path.join(HERE, "guest_docker.sh"), "rb") as f:
            send(env, d, f.read(), "/home/ubuntu/guest_docker.sh")
        brought.append(True)
    return d


def told(env, part):
    """The part's lines; every one must begin with ok."""
    d = ready(env)
    code, out, err = d.exec("bash guest_docker.sh " + part, limit_s=850)
    lines = out.splitlines()
    bad = [line for line in lines if line.startswith("bad ")]
    must(lines and lines[-1] == "end" and not bad, "%d of %d wrong:" % (len(bad), len(lines) - 1), "; ".join(bad), code, err[-800:])
    print("# %s: %d looks" % (part, len(lines) - 1))
    return d


@limit(900)
def case_docker(env):
    """Docker: build (BuildKit, too), networks with names, ports, volumes, limits that bite, health, restarts, exec, logs, capabilities, seccomp"""
    told(env, "docker").settled()


@limit(400)
def case_restarts(env):
    """a container with restart=always, its port and its volume, come back with the VM; the host reaches its port at the VM's address"""
    d = ready(env)
    same(d.cli("vm", "shutdown", d.vm, limit_s=160).returncode, 0)
    back(d, "hostname", d.vm + "\n")
    ip = d.daemon.api.get("/vm/" + d.vm)["ip"].split("/")[0]

    def served():
        with contextlib.suppress(OSError):
            return b"kept" in urllib.request.urlopen("http://%s:8085/f" % ip, timeout=20).read()
    must(wait_for(served, 60 * env.patience, 0.5), "port 8085 of the VM, from the host", d.exec("docker ps -a; docker logs ever")[1])
    told(env, "again")


@limit(400)
def case_compose(env):
    """docker-compose: a build, two services that know each other, a volume, a port; down"""
    told(env, "compose")


@limit(600)
def case_podman(env):
    """podman, as root and without: networks, pods, ports by slirp4netns, limits, builds, fuse-overlayfs"""
    told(env, "podman").settled()


@limit(500)
def case_builder(env):
    """a guest builds an OCI archive of a Dockerfile with buildah; it is copied out, imported and booted"""
    d = told(env, "builder")
    here = os.path.join(env.top, "app.tar")
    done = d.cli("vm", "cp", "%s:/home/ubuntu/app.tar" % d.vm, here)
    same(done.returncode, 0, done.stderr)
    done = env.cli("image", "import", "--quiet", "--name", "app:1", here, limit_s=200)
    same(done.returncode, 0, done.stderr)
    done = env.cli("group", "create", "app", "--image", "app:1", "--ram-mb", "128", "--cpu", "1", "--bridge", "brapp", "--cidr", "10.98.11.1/24", "--tap-prefix", "apptap")
    same(done.returncode, 0, done.stderr)
    done = env.cli("vm", "launch", "app", "--wait", limit_s=160)
    same(done.returncode, 0, done.stderr)
    done = env.cli("vm", "exec", "app-1", "--", "cat /srv/built; id -u")
    same((done.returncode, done.stdout), (0, b"built 0\na-note\n1000\n"), done.stderr)
    env.cli("vm", "delete", "app-1")
