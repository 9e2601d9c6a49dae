"""A Debian with systemd as a guest: it boots with nothing failed, and everything that min guests do works. Started by heavy.sh."""
import hashlib
import os
import time

from case_shell import DATA, Shell, frame
from client import wait_for
from debian import guest
from world import limit, must, same

TAR = "debian.tar.gz"


def launch_min(env):
    begin = time.monotonic()
    name = env.main.create(cpus=1)
    took = time.monotonic() - begin
    same(env.main.delete(name)[0], 200)
    return took


@limit(700)
def case_boot(env):
    """image import of a Debian tar, boot to multi-user with nothing failed"""
    took = launch_min(env)
    d = guest(env, TAR)
    print("# a min guest in the same run, to the agent %.1f s" % took)
    code, out, err = d.root("cat /proc/1/comm; systemctl is-active slicer-agent multi-user.target; systemd-detect-virt; systemctl list-jobs --no-legend")
    must(out.startswith("systemd\nactive\nactive\nkvm\n") and len(out.splitlines()) <= 5, out, err)
    print("# " + d.root("systemd-analyze | head -1")[1].strip())


@limit(60)
def case_name_and_network(env):
    """name, addresses, routes and name servers are what the host gave, without cloud-init"""
    d = guest(env, TAR)
    ip = d.daemon.api.get("/vm/" + d.vm)["ip"].split("/")[0]
    code, out, err = d.exec("hostname; getent ahostsv4 $(hostname) | head -1; ip -4 -o addr show eth0; ip route show default; cat /etc/resolv.conf; "
                            "systemctl is-system-running; tr -d '\\n' </etc/machine-id | wc -c")
    must(out.startswith(d.vm + "\n") and ip in out.splitlines()[1] and ip + "/24" in out and "via 10.98.7.1" in out and "nameserver" in out, out, err)
    same(out.splitlines()[-2:], ["running", "32"])
    with open("/proc/net/route") as f:
        must("brdeb" in f.read(), "the host's side")
    must(os.system("ping -c 1 -W 20 %s >/dev/null 2>&1" % ip) == 0, "ping from the host")


@limit(60)
def case_user(env):
    """commands run as ubuntu, who may sudo; /tmp and limits are the distribution's; the agent's protection is not inherited"""
    d = guest(env, TAR)
    code, out, err = d.exec("id -un; sudo -n id -un; findmnt -n /tmp; ulimit -Sn; cat /proc/self/oom_score_adj; cat /proc/$(pidof slicer-agent)/oom_score_adj; exit 7")
    same((code, out), (7, "ubuntu\nroot\n1024\n0\n-900\n"), err)
    same(d.exec("df --output=size -B1M / | tail -1 | awk '{ print ($1 > 5000) }'")[1], "1\n", "the file system has grown to the disk")


@limit(120)
def case_files_and_shell(env):
    """cp in and out, and a login shell"""
    d = guest(env, TAR)
    data = os.urandom(300000)
    here = os.path.join(env.top, "sent")
    with open(here, "wb") as f:
        f.write(data)
    same(d.cli("vm", "cp", here, d.vm + ":/home/ubuntu/got").returncode, 0)
    same(d.exec("sha256sum got; stat -c %U got")[1].split(), [hashlib.sha256(data).hexdigest(), "got", "ubuntu"])
    same(d.cli("vm", "cp", d.vm + ":/home/ubuntu/got", here + ".back").returncode, 0)
    with open(here + ".back", "rb") as f:
        must(f.read() == data, "what came back")
    with d.daemon.api.conn(120) as conn:
        shell = Shell(env, conn, d.vm)
        shell.ws.send(frame(DATA, b"echo on-$(tty | cut -c1-8)-$(id -un)\n"))
        shell.until(b"on-/dev/pts-ubuntu")
        shell.ws.send(frame(DATA, b"exit\n"))
        while not shell.ended:
            shell.step()


@limit(120)
def case_agent_comes_back(env):
    """a killed agent is started again by systemd, and what it had started lives on"""
    d = guest(env, TAR)
    same(d.root("setsid sleep 3000 </dev/null >/dev/null 2>&1 & until pidof sleep >/run/kept; do :; done")[0], 0)
    d.root("systemctl kill -s KILL --kill-whom=main slicer-agent")  # this exec's own agent is the one that dies
    must(wait_for(lambda: d.root("systemctl is-active slicer-agent")[1] == "active\n", 40 * env.patience, 0.5), "exec after the agent's death")
    same(d.root("ps -o comm= -p $(cat /run/kept); kill $(cat /run/kept)")[1], "sleep\n")
    d.settled()


def status_of(d):
    return d.daemon.api.get("/vm/" + d.vm)["status"]


def back(d, script, want):
    """Launched again, up to multi-user with nothing failed."""
    same(d.cli("vm", "relaunch", d.vm, limit_s=160).returncode, 0)
    must(wait_for(lambda: d.exec(script)[1] == want, 100 * d.env.patience, 0.5), d.console())
    d.settled()
    out = d.root("dmesg | grep EXT4-fs")[1]
    must("mounted" in out and "recovery" not in out, "the file system was left clean", out)


@limit(400)
def case_ends(env):
    """poweroff inside, relaunch, reboot inside (ends the VM, as a min guest's), relaunch, shutdown from the host: the disk stays and is left clean each time"""
    d = guest(env, TAR)
    same(d.root("echo stays >/var/stays; cat /etc/machine-id >/var/id; sync")[0], 0)
    d.exec("sudo -n poweroff")
    must(wait_for(lambda: status_of(d) == "Stopped", 60 * env.patience, 0.5), "it powered off", d.console())
    back(d, "cat /var/stays; cmp /etc/machine-id /var/id; hostname", "stays\n%s\n" % d.vm)
    d.exec("sudo -n reboot")
    must(wait_for(lambda: status_of(d) == "Stopped", 60 * env.patience, 0.5), "it ended", d.console())
    back(d, "cat /var/stays", "stays\n")
    begin = time.monotonic()
    done = d.cli("vm", "shutdown", d.vm, limit_s=160)
    same(done.returncode, 0, done.stderr)
    print("# shutdown from the host %.1f s" % (time.monotonic() - begin))
    same(status_of(d), "Stopped")
    same(d.cli("vm", "delete", d.vm).returncode, 0)


@limit(500)
def case_raw_disk(env):
    """image export gives a raw disk; a group of it (image: FILE) starts systemd itself, and name and network are there all the same"""
    d = guest(env, TAR)
    folder = os.path.join(env.top, "raw")
    os.makedirs(folder)
    path = os.path.join(folder, "debian.img")
    done = d.cli("image", "export", "debian:1", "-f", path, limit_s=100)
    same(done.returncode, 0, done.stderr)
    os.chmod(path, 0o644)
    raw = env.daemon("raw", 8, dir=folder, ram_mb=512, disk="6G\n    image: ./debian.img\n    kernel: %s" % d.kernel).start()
    try:
        name = raw.create(cpus=1, timeout="10m")

        def ask(script):
            return raw.api.sh(name, script, timeout_s=120 * env.patience)[1].decode()
        same(ask("systemctl is-system-running --wait; systemctl --failed --no-legend --plain"), "running\n")
        out = ask("tr '\\0' ' ' </proc/1/cmdline; hostname; getent ahostsv4 $(hostname) | head -1; ip -4 -o addr show eth0; ip route show default; systemctl is-active mica-network")
        ip = raw.api.get("/vm/" + name)["ip"].split("/")[0]
        must(name + "\n" + ip in out and ip + "/24" in out and "via 10.99.8.1" in out and out.endswith("active\n"), out)
    finally:
        raw.stop()
