"""A Debian guest with systemd, made of a tar of rootfs/debian/make.sh that stands beside the suite (heavy.sh puts it there)."""
import os
import time

from client import wait_for
from world import Skip, must, same

HERE = os.path.dirname(os.path.abspath(__file__))
made = {}


def disk(tar):
    return os.path.join(HERE, tar.split(".")[0] + ".img")


class Guest:
    """One VM of it, persistent. Where NAME.img stands beside the suite instead of NAME.tar.gz, it is that disk's (in the rig, where an import of hundreds of
    megabytes takes half an hour); the tar is imported by way of the command line."""

    def __init__(self, env, tar, ram_mb):
        self.env, self.group, self.figures = env, tar.split(".")[0][:8], {}  # so that its taps' names fit
        self.vm = self.group + "-1"
        self.kernel = "full" if self.has_full() else "min"
        begin = time.monotonic()
        if os.path.exists(disk(tar)):
            self.daemon = env.daemon(self.group, 7, ram_mb=ram_mb, disk="6G\n    image: %s\n    kernel: %s" % (disk(tar), self.kernel)).start()
        else:
            self.daemon = env.main
            self.make_group(os.path.join(HERE, tar), ram_mb)
            self.figures["import of %d MiB" % (os.stat(os.path.join(HERE, tar)).st_size >> 20)] = time.monotonic() - begin
        begin = time.monotonic()
        done = self.cli("vm", "launch", self.group, "--wait", "--timeout", "10m", limit_s=160)
        must(done.returncode == 0, "launch:", done.stderr, self.console())
        self.figures["to the agent"] = time.monotonic() - begin
        self.settled()
        self.figures["to multi-user"] = time.monotonic() - begin

    def make_group(self, path, ram_mb):
        image = self.group + ":1"
        done = self.cli("image", "import", "--quiet", "--size", "4G", "--name", image, path, limit_s=450)
        must(done.returncode == 0, "import:", done.stdout, done.stderr)
        done = self.cli("group", "create", self.group, "--image", image, "--kernel", self.kernel, "--ram-mb", str(ram_mb), "--cpu", "1", "--storage-size", "6G",
                        "--bridge", "brdeb", "--cidr", "10.98.7.1/24", "--tap-prefix", "debtap")
        same(done.returncode, 0, done.stderr)

    def cli(self, *args, limit_s=60):
        return self.env.cli(*args, limit_s=limit_s, MICA_URL=self.daemon.sock)

    def has_full(self):
        return b"full" in self.env.alone("version").stdout

    def console(self):
        try:
            with open(os.path.join(self.daemon.state, "vm", self.vm, "console.log"), errors="replace") as f:
                return f.read()[-2000:]
        except OSError as e:
            return str(e)

    def exec(self, script, *options, limit_s=60):
        """(exit code, output, errors) as the default user."""
        done = self.cli("vm", "exec", self.vm, *options, "--", script, limit_s=limit_s)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def root(self, script, limit_s=60):
        return self.exec(script, "--uid", "0", limit_s=limit_s)

    def settled(self):
        """systemd has started everything."""
        code, out, err = self.root("systemctl is-system-running --wait; systemctl --failed --no-legend --plain", limit_s=120)
        return must(out.strip() == "running", code, out, err, self.root("systemctl status --failed --no-pager; journalctl -b -p 3 --no-pager | tail -40")[1])

    def answers(self, script, want, limit_s=60):
        """Waits until a command in the guest says so."""
        last = []

        def asked():
            last[:] = self.root(script)
            return want in last[1]
        must(wait_for(asked, limit_s * self.env.patience, 0.5), script, "never said", want, "but", *last)

    def say(self):
        return "kernel %s; " % self.kernel + ", ".join("%s %.1f s" % pair for pair in self.figures.items())


def guest(env, tar, ram_mb=512):
    """Made once for all cases of a room; when that failed they are skipped."""
    if not os.path.exists(os.path.join(HERE, tar)) and not os.path.exists(disk(tar)):
        raise Skip("no %s beside the suite (tests/it/heavy.sh makes it)" % tar)
    if tar not in made:
        made[tar] = None
        made[tar] = Guest(env, tar, ram_mb)
        print("# %s: %s" % (tar, made[tar].say()), flush=True)
    if not made[tar]:
        raise Skip("there is no guest: its first case says why")
    return made[tar]
