"""image build: a Dockerfile becomes an image inside builders, and a VM of it has its files."""
import json
import os

from world import limit, must, same

DOCKERFILE = """FROM min
ARG WHO=nobody
ENV GREETING="hello from a build" WHO=$WHO
WORKDIR /srv/app
COPY --chown=ubuntu --chmod=0640 data .
COPY run.sh /usr/local/bin/
RUN run.sh "$GREETING" && chown 5:7 /etc/greeting && mkdir -p /var/own && chown ubuntu /var/own
USER ubuntu
RUN id -un > /var/own/who && echo $WHO >> /var/own/who && ! wget -q -T 2 -O /dev/null http://192.0.2.1/
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
