"""Disks in whole guests: one that grows under its VM, more disks, export and import."""
import os

from world import limit, must, same


def inside(env, vm, script, d):
    done = env.cli("vm", "exec", vm, "--uid", "0", "--", script, limit_s=90, MICA_URL=d.sock)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def cli(env, d, *args, limit_s=90):
    return env.cli(*args, limit_s=limit_s, MICA_URL=d.sock)


@limit(600)
def case_life(env):
    """disk grow while it runs, df inside; a read-only disk refuses writes; export, import, and a VM of what was imported"""
    folder = os.path.join(env.top, "disks")
    os.makedirs(folder, exist_ok=True)
    data = os.path.join(folder, "set.img")
    with open(data, "wb") as f:
        f.write(b"data of the host\n" + bytes(495))
        f.truncate(1 << 20)
    os.chmod(data, 0o644)
    d = env.daemon("disks", 61, dir=folder, disk="64M\n    disks: [{ file: ./set.img, read_only: true }, { size: 8M }]\n    disk_iops: 5000")
    d.start()
    vm = d.create(cpus=1, persistent=True)
    code, out, err = inside(env, vm, "cat /sys/block/vda/size; df -k / | tail -1; head -c 17 /dev/vdb; cat /sys/block/vdb/ro; echo no >/dev/vdb && echo WRITTEN; "
                            "echo yes >/dev/vdc && head -c 4 /dev/vdc; cat /sys/block/vdc/size", d)
    lines = out.splitlines()
    must(lines[0] == "131072" and "data of the host" in out and "WRITTEN" not in out and lines[-2:] == ["yes", "16384"] and lines[-3] == "1", code, out, err)
    before = int(lines[1].split()[1])
    done = cli(env, d, "disk", "grow", vm, "96M")
    must(done.returncode == 0 and b"96MiB" in done.stdout and b"file system have grown" in done.stdout, done.stdout, done.stderr)
    code, out, err = inside(env, vm, "cat /sys/block/vda/size; df -k / | tail -1; dd if=/dev/zero of=/root/full bs=1M count=60 2>/dev/null && rm /root/full; echo kept >/root/mark; sync", d)
    lines = out.splitlines()
    must(code == 0 and lines[0] == "196608" and int(lines[1].split()[1]) > before + 24000, out, err)
    must(cli(env, d, "disk", "grow", vm, "64M").returncode == 1, "it does not shrink")
    done = cli(env, d, "disk", "sparsify", vm)
    same(done.returncode, 0, done.stderr)
    must(vm.encode() in cli(env, d, "disk", "list").stdout and cli(env, d, "disk", "df").returncode == 0)
    same(cli(env, d, "vm", "shutdown", vm).returncode, 0)
    image = os.path.join(folder, "out.img")
    done = cli(env, d, "disk", "export", vm, "-f", image)
    must(done.returncode == 0 and os.stat(image).st_size == 96 << 20 and os.stat(image).st_blocks * 512 < 64 << 20, done.stderr)
    done = cli(env, d, "disk", "import", image, "--name", "mine:1", limit_s=300)
    must(done.returncode == 0 and done.stdout.startswith(b"mine:1 img-"), done.stdout, done.stderr)
    done = cli(env, d, "group", "create", "again", "--image", "mine:1", "--ram-mb", "128", "--cpu", "1", "--storage-size", "128M", "--net", "none")
    same(done.returncode, 0, done.stderr)
    same(cli(env, d, "vm", "launch", "again", "--wait", "--timeout", "3m", limit_s=200).returncode, 0)
    code, out, err = inside(env, "again-1", "cat /root/mark; cat /sys/block/vda/size; df -k / | tail -1", d)
    must(code == 0 and out.startswith("kept\n262144\n") and int(out.splitlines()[2].split()[1]) > 100000, out, err)
    same(cli(env, d, "vm", "delete", "again-1").returncode, 0)
    done = cli(env, d, "disk", "import", data)
    must(done.returncode == 1 and b"no raw ext4" in done.stderr, "what is no file system is refused")
    d.stop()
