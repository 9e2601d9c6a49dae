"""`mica run`: one disposable VM, no daemon."""
import os
import shutil

from world import Skip, limit, must, same, vmm_pids


@limit(90)
def case_alone_in_a_folder(env):
    """the one file, copied alone into an empty folder, runs uname in a guest"""
    folder = env.folder("empty")
    shutil.copy(env.mica, os.path.join(folder, "mica"))
    done = env.alone("run", "--", "uname", "-a", cwd=folder, binary=os.path.join(folder, "mica"), limit_s=60)
    same(done.returncode, 0, done.stderr)
    must(done.stdout.startswith(b"Linux ") and b"x86_64" in done.stdout, done.stdout)
    same(os.listdir(folder), ["mica"], "files left beside it")


@limit(120)
def case_codes_and_streams(env):
    """exit code, stdout, stderr and stdin pass through"""
    done = env.alone("run", "--", "sh", "-c", "cat; echo err >&2; exit 7", stdin=b"from outside\n", limit_s=90)
    same((done.returncode, done.stdout), (7, b"from outside\n"), done.stderr)
    must(b"err\n" in done.stderr, done.stderr)


@limit(120)
def case_not_found(env):
    """a command that is not there is 127"""
    done = env.alone("run", "--", "no-such-command", limit_s=90)
    same(done.returncode, 127, done.stderr)


@limit(150)
def case_copy_in_and_out(env):
    """--cp takes a folder in, --out brings results back, --cpus gives two"""
    top = env.folder("cp")
    src, dst = os.path.join(top, "proj"), os.path.join(top, "res")
    os.makedirs(os.path.join(src, "sub"))
    with open(os.path.join(src, "sub", "in.txt"), "w") as f:
        f.write("payload\n" * 1000)
    done = env.alone("run", "--cpus", "2", "--ram-mb", "192", "--cp", src + ":/tmp/proj", "--out", "/tmp/result:" + dst, "--",
                     "sh", "-c", "mkdir /tmp/result; wc -l </tmp/proj/sub/in.txt >/tmp/result/lines; nproc >/tmp/result/cpus; exit 130", limit_s=100)
    same(done.returncode, 130, done.stderr)  # no Ctrl-C: --out is done all the same
    found = {}
    for base, _, names in os.walk(dst):
        for name in names:
            with open(os.path.join(base, name)) as f:
                found[name] = f.read().strip()
    same(found, {"lines": "1000", "cpus": "2"})


def case_nothing_left(env):
    """no VM of those runs is left"""
    if not env.daemons:
        same(vmm_pids() - env.first_vmms, set())


def case_no_kvm(env):
    """without permission on /dev/kvm: an error that names the group, not chmod"""
    if os.geteuid() != 0:
        raise Skip("needs root to hide /dev/kvm")
    import subprocess
    done = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /dev/kvm && exec "$0" run -- true', env.mica],
                          capture_output=True, timeout=30 * env.patience, env=env.environ(), stdin=subprocess.DEVNULL)
    must(done.returncode not in (0,), "it ran without kvm")
    must(b"error:" in done.stderr and b"kvm" in done.stderr, done.stderr)
    must(b"666" not in done.stderr, done.stderr)


def case_usage(env):
    """no command, odd numbers, a source that is not there: usage errors, no VM"""
    for args in (("run",), ("run", "--cpus", "0", "--", "true"), ("run", "--cpus", "99", "--", "true"), ("run", "--ram-mb", "x", "--", "true"),
                 ("run", "--cp", "/no/such/file:/tmp/x", "--", "true"), ("run", "--no-such-flag", "--", "true"), ("no-such-verb",)):
        done = env.alone(*args, limit_s=20)
        must(done.returncode != 0 and b"error:" in done.stderr, args, done.returncode, done.stderr)


def case_version(env):
    """version --json names the size and the parts"""
    done = env.alone("version", "--json")
    same(done.returncode, 0, done.stderr)
    import json
    told = json.loads(done.stdout)
    must(told["version"], told)


@limit(60)
def case_doctor(env):
    """doctor --json boots the throw-away guest and tells how long it took"""
    done = env.alone("doctor", "--json", limit_s=40)
    same(done.returncode, 0, done.stdout + done.stderr)
    import json
    json.loads(done.stdout)
