"""The command line against the daemon: what people's scripts read."""
import json
import os

from world import Skip, limit, must, same


def case_list_json(env):
    """vm list --json and the table"""
    name = env.vm()
    done = env.cli("vm", "list", "--json")
    same(done.returncode, 0, done.stderr)
    must(name in [n["hostname"] for n in json.loads(done.stdout)])
    table = env.cli("vm", "list").stdout.decode()
    must(table.split("\n")[0].startswith("HOSTNAME") and name in table, table)


def case_exec(env):
    """vm exec: output, stderr, exit code, stdin, uid, env, cwd"""
    name = env.vm()
    done = env.cli("vm", "exec", name, "--", "sh", "-c", "cat; echo e >&2; exit 42", stdin=b"\0\1\xff")
    same((done.returncode, done.stdout, done.stderr), (42, b"\0\1\xff", b"e\n"))
    done = env.cli("vm", "exec", "--uid", "0", "--cwd", "/tmp", "--env", "A=b c", name, "--", 'id -u; pwd; echo "$A"')
    same((done.returncode, done.stdout), (0, b"0\n/tmp\nb c\n"), done.stderr)


def case_exec_codes(env):
    """vm exec: 127 and 126"""
    same(env.cli("vm", "exec", env.vm(), "--shell", "", "--", "no-such-command").returncode, 127)
    same(env.cli("vm", "exec", env.vm(), "--shell", "", "--", "/etc/passwd").returncode, 126)


def case_cp_file(env):
    """vm cp: a file both ways"""
    name, src, dst = env.vm(), os.path.join(env.top, "c1"), os.path.join(env.top, "c2")
    data = os.urandom(123456)
    with open(src, "wb") as f:
        f.write(data)
    os.chmod(src, 0o750)
    done = env.cli("vm", "cp", src, name + ":/tmp/c1")
    same(done.returncode, 0, done.stderr)
    done = env.cli("vm", "cp", name + ":/tmp/c1", dst)
    same(done.returncode, 0, done.stderr)
    with open(dst, "rb") as f:
        must(f.read() == data, "contents differ")


def case_cp_tree(env):
    """vm cp -r: a folder both ways, with x bits"""
    name, top = env.vm(), env.folder("tree")
    src, dst = os.path.join(top, "t1"), os.path.join(top, "t2")
    os.makedirs(src + "/a/b")
    for path, text in (("/a/b/x", "1"), ("/run.sh", "#!/bin/sh\necho ok\n"), ("/empty", "")):
        with open(src + path, "w") as f:
            f.write(text)
    os.chmod(src + "/run.sh", 0o755)
    done = env.cli("vm", "cp", "-r", src, name + ":/tmp/t1")
    same(done.returncode, 0, done.stderr)
    same(env.api.sh(name, "/tmp/t1/run.sh")[1], b"ok\n")
    done = env.cli("vm", "cp", "-r", name + ":/tmp/t1", dst)
    same(done.returncode, 0, done.stderr)
    got = sorted(os.path.relpath(os.path.join(base, f), dst) for base, _, files in os.walk(dst) for f in files)
    same(got, ["a/b/x", "empty", "run.sh"])
    must(os.access(dst + "/run.sh", os.X_OK), "x bit")


@limit(90)
def case_cp_host_disk_full(env):
    """vm cp onto a full disk: an error that says so, no half file, exit not 0"""
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small tmpfs")
    import subprocess
    small = env.folder("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", small], check=True)
    try:
        env.api.sh(env.vm(), "head -c 4000000 /dev/zero >/tmp/four")
        done = env.cli("vm", "cp", env.vm() + ":/tmp/four", small + "/four")
        must(done.returncode != 0 and b"error:" in done.stderr and b"space" in done.stderr.lower(), done.returncode, done.stderr)
        same(os.listdir(small), [], "left on the full disk")
        same(env.api.sh(env.vm(), "rm /tmp/four; echo alive")[1], b"alive\n")
    finally:
        subprocess.run(["umount", small])


def case_errors(env):
    """unknown VM, no daemon: three lines and exit 1"""
    done = env.cli("vm", "exec", "it-999", "--", "true")
    must(done.returncode not in (0, 127, 126) and done.stderr.startswith(b"error:"), done.returncode, done.stderr)
    done = env.cli("vm", "list", MICA_URL=os.path.join(env.top, "no.sock"))
    must(done.returncode == 1 and b"error:" in done.stderr and b"fix:" in done.stderr, done.returncode, done.stderr)


def case_describe_health_logs_ready(env):
    """describe, health, logs, ready, info"""
    name = env.vm()
    same(json.loads(env.cli("vm", "describe", name, "--json").stdout)["hostname"], name)
    must(json.loads(env.cli("vm", "health", name, "--json").stdout)["agent_uptime"] > 0)
    same(env.cli("vm", "ready", name, "--timeout", "20s").returncode, 0)
    same(env.cli("vm", "logs", name).returncode, 0)
    must(b"x86_64" in env.cli("info", "--json").stdout or b"amd64" in env.cli("info", "--json").stdout)


def case_slicer_link(env):
    """called as `slicer`, with SLICER_URL, it is the same program"""
    link = os.path.join(env.top, "slicer")
    if not os.path.exists(link):
        os.symlink(env.mica, link)
    done = env.alone("vm", "list", "--json", binary=link, SLICER_URL=env.main.sock)
    same(done.returncode, 0, done.stderr)


def case_help(env):
    """--help of every command says how it is used, with an example"""
    for words in ((), ("run",), ("up",), ("vm",), ("vm", "launch"), ("vm", "exec"), ("vm", "cp"), ("vm", "shell"), ("doctor",)):
        done = env.alone(*words, "--help", limit_s=10)
        must(done.returncode == 0 and len(done.stdout) > 100, words, done.returncode, done.stdout, done.stderr)


@limit(150)
def case_launch_and_delete(env):
    """vm launch prints Hostname:, vm delete removes it"""
    done = env.cli("vm", "launch", "it", "--cpus", "1", "--persistent=false", "--wait", limit_s=60)
    if done.returncode == 2:
        done = env.cli("vm", "launch", "it", "--cpus", "1", "--wait", limit_s=60)
    same(done.returncode, 0, done.stderr)
    name = [line.split()[1] for line in done.stdout.decode().splitlines() if "Hostname:" in line][0]
    must(name in env.cli("vm", "list").stdout.decode(), name)
    done = env.cli("vm", "delete", name)
    same(done.returncode, 0, done.stderr)
    must(name not in env.cli("vm", "list").stdout.decode().split(), "still listed")
