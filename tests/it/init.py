#!/usr/bin/env python3
"""init.py INIT: `init --network`, as a service runs it where systemd came first: name, addresses, routes and files of /run from the words of its environment.
In namespaces of its own (root)."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if os.geteuid() == 0 and "MICA_INIT_INSIDE" not in os.environ:
    os.environ["MICA_INIT_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--uts", "--propagation", "private", sys.executable, os.path.abspath(__file__)] + sys.argv[1:])
from frames import Tap  # noqa: E402


def run(*argv, **env):
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)


def said(*argv):
    return run(*argv, PATH=os.environ["PATH"]).stdout


def main(init):
    tap = Tap()
    if os.geteuid() != 0:
        tap.skip("init --network", "needs root for namespaces")
        return tap.done()
    must = lambda *argv: subprocess.run(argv, check=True, timeout=60)
    must("mount", "-t", "tmpfs", "run", "/run")
    must("mount", "-t", "tmpfs", "etc", "/etc")  # its links appear where a file is missing
    must("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "host0")
    must("ip", "link", "set", "host0", "up")
    must("hostname", "before")

    done = run(init, "--network")
    tap.ok(done.returncode == 0 and said("hostname") == "before\n" and not os.path.exists("/run/hosts"), "without words it does nothing: our init was the first program")
    done = run(init, "--network", MICA_HOST="deb-9", MICA_IP="10.98.7.9/24", MICA_GW="10.98.7.1", MICA_DNS="10.98.7.1,8.8.8.8")
    tap.ok(done.returncode == 0 and said("hostname") == "deb-9\n", f"it sets the name {done}")
    tap.ok("10.98.7.9/24" in said("ip", "-4", "-o", "addr", "show", "eth0") and "default via 10.98.7.1" in said("ip", "route"), "address and route")
    with open("/etc/hosts") as hosts, open("/etc/resolv.conf") as resolv:
        tap.ok("10.98.7.9 deb-9\n" in hosts.read() and resolv.read() == "nameserver 10.98.7.1\nnameserver 8.8.8.8\n", "hosts and resolv.conf")
    done = run(init, "--network", MICA_HOST="deb-9", MICA_IP="10.98.7.9/99")
    tap.ok(done.returncode == 0 and "eth0" in done.stderr, f"a wrong address is said, and the boot goes on {done.stderr!r}")
    done = run(init)
    tap.ok(done.returncode == 1 and "PID 1" in done.stderr, "otherwise it is for PID 1 alone")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
