#!/usr/bin/env python3
"""faults.py BIN-FOLDER AGENT: what can go wrong is made to go wrong, and the error is read: its code, cause and fix, the exit status, and that nothing is
left behind. As root in namespaces of its own, so that mounts, interfaces and limits touch nobody; without root less is induced, and said. TAP."""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

ROOT = os.getuid() == 0
if ROOT and "MICA_FAULTS_INSIDE" not in os.environ and __name__ == "__main__":
    os.environ["MICA_FAULTS_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private", sys.executable,
                          os.path.abspath(__file__)] + sys.argv[1:])

from frames import Tap  # noqa: E402
from stack import Stack, free_port  # noqa: E402

tap = Tap()
top = tempfile.mkdtemp(prefix="mica-faults.", dir="/var/tmp" if ROOT else None)
os.chmod(top, 0o755)
PAGES = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
NOBODY = 65534
CORE = 1835597824  # the user core runs as
induced = set()
libc = ctypes.CDLL(None, use_errno=True)


def path(name):
    return os.path.join(top, name)


def write(name, data, mode=0o644):
    p = path(name)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    with open(p, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(p, mode)
    return p


def sh(words):
    subprocess.run(words, shell=isinstance(words, str), check=True, capture_output=True)


GROUP = "  - {name: vm, count: 0, ram_mb: 64, storage_size: 4M, network: {mode: none}}\n"


def config(groups=GROUP, api="", port=None):
    return write("m%d.yaml" % len(os.listdir(top)), "config:\n  host_groups:\n%s  api:\n    port: %d\n%s" % (groups, port or free_port(), api))


# ---- seccomp: a kernel that lacks something -----------------------------------------------------------------------

def refuse(number, errno, arg=None, value=None):
    """One system call (with that argument) gets an errno, from now on in this process and what it starts."""
    ld, jeq, ret, allow = 0x20, 0x15, 0x06, 0x7fff0000
    prog = [(ld, 0, 0, 0), (jeq, 0, 1 if arg is None else 3, number)]
    if arg is not None:
        prog += [(ld, 0, 0, 16 + 8 * arg), (jeq, 0, 1, value)]
    prog += [(ret, 0, 0, 0x00050000 | errno), (ret, 0, 0, allow)]
    code = b"".join(struct.pack("<HBBI", *p) for p in prog)
    mem = ctypes.create_string_buffer(code, len(code))
    fprog = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(prog), ctypes.addressof(mem)), 16)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(fprog), 0, 0):
        os._exit(99)


def no_seccomp():
    refuse(317, 22)


def no_landlock():
    refuse(444, 95)


def no_nft():
    refuse(41, 93, 2, 12)


def files_max(n):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))


def as_user(uid, groups=()):
    def become():
        os.setgroups(list(groups))
        os.setgid(uid)
        os.setuid(uid)
    return become


# ---- one fault ----------------------------------------------------------------------------------------------------

def mine():
    """Processes of the programs under test that still run."""
    found = []
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            exe = os.readlink("/proc/%s/exe" % pid)
            with open("/proc/%s/stat" % pid) as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                    continue
        except OSError:
            continue
        if exe.startswith(top + "/bin/"):
            found.append((pid, exe))
    return found


def quiet(limit_s=10):
    end = time.monotonic() + limit_s
    while mine() and time.monotonic() < end:
        time.sleep(0.02)
    return mine()


TABLE = {}


def three_lines(text, code):
    """(good, cause): an error of three lines that ends in the code."""
    m = re.search(r"^error: (.+) \[%s\]\ncause: (.+)\nfix: (.+)$" % code, text, re.M)
    return (bool(m) and "[E_" not in m[2] + m[3], m and m[2])


def check(code, what, status, text, want=1, why="", serving=False):
    good, cause = three_lines(text, code)
    left = [] if serving else quiet()
    ok = good and status == want and re.search(why, cause or "") and not left and code in TABLE
    tap.ok(bool(ok), "%s: %s%s" % (code, what, "" if ok else ": status %s, left %s, said %r" % (status, left, text)))
    induced.add(code)


def mica(*words, user=None, before=None, **env):
    done = subprocess.run([top + "/bin/mica", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, cwd=top, preexec_fn=before,
                          env=dict({"HOME": top, "MICA_STATE": top + "/state", "PATH": os.environ["PATH"]}, **env))
    return done.returncode, done.stderr + done.stdout


def up_words(conf, state, *words):
    return ["up", conf, "--state", state, "--no-net", "--flavour", "min", "--kvm", "/dev/null", *words]


def up_fails(code, what, conf=None, state=None, words=(), before=None, why=""):
    """A daemon that cannot start: it says why, and ends."""
    fresh = state is None
    state = state or path("state-%s" % code)
    status, text = mica(*up_words(conf or config(), state, *words), before=before)
    check(code, what, status, text, why=why)
    if fresh:
        shutil.rmtree(state, ignore_errors=True)


class Up:
    """A daemon that starts; what it says."""

    def __init__(self, conf, state, *words, before=None, net=False):
        self.text, self.state = "", state
        words = [w for w in up_words(conf, state, *words) if not (net and w == "--no-net")]
        self.p = subprocess.Popen([top + "/bin/mica", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  cwd=top, preexec_fn=before, env={"HOME": top, "PATH": os.environ["PATH"]})
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.p.stdout:
            self.text += line

    def says(self, pattern, limit_s=15):
        end = time.monotonic() + limit_s
        while time.monotonic() < end and not re.search(pattern, self.text):
            time.sleep(0.02)
        return re.search(pattern, self.text)

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(20)


def up_notes(code, what, conf, state, why="", **kw):
    """A daemon that starts all the same, and says what it goes without."""
    u = Up(conf, state, **kw)
    said = u.says(r"note: .*%s.*\[%s\]" % (why, code))
    ready = u.says("is up")
    status = u.stop()
    left = quiet()
    tap.ok(bool(said and ready) and status == 0 and not left and code in TABLE, "%s: %s%s" % (code, what, "" if said and ready and not status else
                                                                                             ": %s %s %r" % (status, left, u.text)))
    induced.add(code)


# ---- the faults ---------------------------------------------------------------------------------------------------

def kvm():
    check("E_KVM_MISSING", "no /dev/kvm", *mica("run", "--kvm", "/nonexistent", "--", "true"), want=125)
    check("E_KVM_MISSING", "no /dev/kvm, doctor", *mica("doctor", "--kvm", "/nonexistent"))
    check("E_KVM_USELESS", "a file that is no KVM", *mica("run", "--kvm", "/dev/null", "--", "true"), want=125, why="no KVM")
    status, text = mica("doctor", "--json", "--kvm", "/nonexistent")
    tap.ok(status == 1 and json.loads(text[text.index("{"):])["kvm"]["code"] == "E_KVM_MISSING", "its code stands in doctor's JSON")
    if not ROOT:
        return
    device = write("kvm", b"", 0o600)
    check("E_KVM_DENIED", "a KVM of root's", *mica("run", "--kvm", device, "--", "true", before=as_user(NOBODY)), want=125, why="belongs to root")
    write("group", "root:x:0:\nkvm:x:12345:nobody\n")
    write("passwd", "root:x:0:0::/:/bin/sh\nnobody:x:%d:%d::/:/bin/sh\n" % (NOBODY, NOBODY))
    os.chown(device, 0, 12345)
    os.chmod(device, 0o660)
    for f in ("group", "passwd"):
        sh(["mount", "--bind", path(f), "/etc/" + f])
    check("E_KVM_GROUP", "in the group, but not in this session", *mica("run", "--kvm", device, "--", "true", before=as_user(NOBODY)), want=125)
    check("E_KVM_USELESS", "in the group, in this session: the next thing is wrong", *mica("run", "--kvm", device, "--", "true",
                                                                                          before=as_user(NOBODY, [12345])), want=125)
    for f in ("group", "passwd"):
        sh(["umount", "/etc/" + f])


def emulated():
    probe = subprocess.run([top + "/bin/vmm", "--probe", "--kvm", "/dev/kvm"], capture_output=True, text=True)
    route = json.loads(probe.stdout or "{}").get("route") if os.access("/dev/kvm", os.R_OK | os.W_OK) else None
    if route != "emulated":
        tap.skip("E_KVM_EMULATED", "this host's KVM is %s; only one without cmpxchg16b says it" % (route or "not there"))
        return
    kernel = write("stock", b"\x7fELF" + b"\2\1\1" + bytes(200))
    u = Up(config("  - {name: vm, count: 0, ram_mb: 64, kernel_file: %s, network: {mode: none}}\n" % kernel), path("state-em"),
           "--flavour", "auto", "--kvm", "/dev/kvm")
    tap.ok(bool(u.says(r"note: .*\[E_KVM_EMULATED\]")) and u.stop() == 0, "E_KVM_EMULATED: nested without cmpxchg16b and a stock kernel: %r" % u.text)
    induced.add("E_KVM_EMULATED")


def state_folder():
    lock = path("state-busy")
    u = Up(config(), lock)
    u.says("is up")
    up = mica(*up_words(config(), lock))
    good, _ = three_lines(up[1], "E_STATE_BUSY")
    tap.ok(good and up[0] == 1 and not u.p.poll(), "E_STATE_BUSY: two daemons, one folder: %r" % (up,))
    induced.add("E_STATE_BUSY")
    tap.ok(u.stop() == 0 and not quiet(), "… the first goes on")
    up_fails("E_STATE_PATH", "a file where the folder should be", state=write("file", b"") + "/state")
    if not ROOT:
        return
    os.makedirs(path("denied"), 0o700)
    os.chmod(path("denied"), 0o700)
    up_fails("E_STATE_DENIED", "somebody else's folder", state=path("denied/state"), before=as_user(NOBODY))
    for kind, code, options in (("tmpfs", "E_STATE_READONLY", "ro"), ("tmpfs", "E_DISK_FULL", "size=4k,nr_inodes=6"), ("hugetlbfs", "E_STATE_FS", "")):
        at = path("fs-" + code)
        os.makedirs(at)
        if subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), "none", at], capture_output=True).returncode:
            tap.skip(code, "no %s here" % kind)
            continue
        up_fails(code, "%s %s" % (kind, options), state=at + "/state" if code == "E_STATE_READONLY" else at)
        check_ = mica("doctor", "--json", "--kvm", "/nonexistent", "--state", at)[1]
        if code != "E_STATE_FS":
            found = [c.get("code") for c in json.loads(check_[check_.index("{"):])["checks"] if c["name"] == "state"]
            tap.ok(found == [code], "… doctor finds it: %s" % found)
        sh(["umount", at])


def files():
    up_fails("E_FD_LIMIT", "7 file descriptors", before=lambda: files_max(7))
    up_fails("E_CONFIG_MISSING", "no config", conf=path("none.yaml"))
    up_fails("E_CONFIG_BAD", "a key nobody knows", conf=write("bad.yaml", "config:\n  host_groupz: []\n"))
    up_fails("E_IMAGE_BAD", "an image of something else", conf=config("  - {name: vm, image: %s, network: {mode: none}}\n" % write("img", b"x" * 65536)))
    up_fails("E_KERNEL_BAD", "a kernel of something else", conf=config("  - {name: vm, kernel_file: %s, network: {mode: none}}\n" % write("krn", b"x" * 65536)))
    up_fails("E_KERNEL_ABSENT", "the kernel full in a build without it", conf=config("  - {name: vm, kernel: full, network: {mode: none}}\n"))
    os.rename(top + "/bin/front", top + "/bin/front.gone")
    up_fails("E_PART_MISSING", "a part of mica is missing")
    os.rename(top + "/bin/front.gone", top + "/bin/front")


def sockets():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        up_fails("E_PORT_USED", "the port is in use", conf=config(port=s.getsockname()[1]))
    up_fails("E_ADDR_ABSENT", "an address of another host", conf=config(api="    bind_address: 192.0.2.77\n    tls: {enabled: true}\n"))
    up_fails("E_SOCKET_LONG", "a long path", conf=write("long.yaml", "config:\n  host_groups:\n%s  api: {bind_address: %s/%s}\n" % (GROUP, top, "s" * 120)))
    up_fails("E_SOCKET_TAKEN", "a file in the socket's place", conf=write("taken.yaml", "config:\n  host_groups:\n%s  api: {bind_address: %s}\n" % (
        GROUP, write("sock", b"mine"))))
    with open(path("sock"), "rb") as f:
        tap.ok(f.read() == b"mine", "… which is kept")
    if ROOT:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as f:
            f.write("1024")
        os.makedirs(path("home"))
        os.chown(path("home"), NOBODY, NOBODY)
        up_fails("E_PORT_DENIED", "a low port for nobody", conf=config(port=81), state=path("home/state"), before=as_user(NOBODY))
    check("E_NO_DAEMON", "no daemon", *mica("vm", "list"))


def secrets():
    state = path("state-token")
    os.makedirs(state + "/auth")
    write("state-token/auth/token", "x\n")
    up_fails("E_TOKEN_BAD", "a token of one letter", state=state)
    for n in ("a", "b"):
        sh(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout", path(n + ".key"),
            "-out", path(n + ".pem"), "-days", "3"])
    tls = "    tls: {enabled: true, cert_file: %s, key_file: %s}\n"
    up_fails("E_CERT_KEY", "another certificate's key", conf=config(api=tls % (path("a.pem"), path("b.key"))))
    up_fails("E_CERT_BAD", "a certificate that is none", conf=config(api=tls % (write("c.pem", "hello\n"), path("b.key"))))
    up_fails("E_CERT_READ", "no certificate's file", conf=config(api=tls % (path("none.pem"), path("b.key"))))
    check("E_TOKEN_READ", "no token's file", *mica("vm", "list", "--url", "http://127.0.0.1:1", "--token-file", path("none")))
    expired()


def expired():
    """openssl makes no certificate of the past without a configuration: by a CA's tool"""
    write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n" % (
        path("index"), path("serial"), top))
    write("index", "")
    write("serial", "01\n")
    sh(["openssl", "req", "-new", "-key", path("a.key"), "-subj", "/CN=localhost", "-out", path("old.csr")])
    sh(["openssl", "ca", "-batch", "-config", path("ca.cnf"), "-selfsign", "-keyfile", path("a.key"), "-in", path("old.csr"),
        "-out", path("old.pem"), "-notext", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"])
    port = free_port()
    u = Up(config(api="    tls: {enabled: true, cert_file: %s, key_file: %s}\n" % (path("old.pem"), path("a.key")), port=port), path("state-old"))
    u.says("is up")
    for code, words in (("E_CERT_EXPIRED", ["--ca-file", path("old.pem")]), ("E_CERT_PIN", ["--fingerprint", "00" * 32])):
        status, text = mica("vm", "list", "--url", "https://localhost:%d" % port, *words)
        good, _ = three_lines(text, code)
        tap.ok(good and status == 1, "%s: %s%s" % (code, words[0], "" if good else ": %s %r" % (status, text)))
        induced.add(code)
    tap.ok(u.stop() == 0 and not quiet(), "… and the daemon stops")


def records():
    for code, text in (("E_RECORD_BAD", "hello\n"), ("E_RECORD_VERSION", "mica-vm=9\nname=vm-1\n"), ("E_RECORD_VERSION", "mica-vm=0\nname=vm-1\n"),
                       ("E_RECORD_BAD", "mica-vm=1\nname vm-1\n")):
        state = path("state-record%d" % len(os.listdir(top)))
        os.makedirs(state + "/vm/vm-1", 0o700)
        with open(state + "/vm/vm-1/record", "w") as f:
            f.write(text)
        for p in ("/vm/vm-1/record", "/vm/vm-1"):
            if ROOT:
                os.chown(state + p, CORE, CORE)
        up_notes(code, repr(text), config(), state, why="vm-1")
        with open(state + "/vm/vm-1/record") as f:
            tap.ok(f.read() == text, "… the record is kept as it is")


def walls():
    up_fails("E_SECCOMP", "a kernel that refuses filters", before=no_seccomp)
    for code, name, before, words in (("E_SECCOMP", "seccomp", no_seccomp, []), ("E_FD_LIMIT", "files", lambda: files_max(200), []),
                                      ("E_LANDLOCK", "landlock", no_landlock, [])):
        text = mica("doctor", "--json", "--kvm", "/nonexistent", *words, before=before)[1]
        found = [c.get("code") for c in json.loads(text[text.index("{"):])["checks"] if c["name"] == name]
        tap.ok(found == [code], "… doctor finds %s: %s" % (code, found))
        induced.add(code)
    if not ROOT:
        return
    def look(code, name, before, after):
        before()
        text = mica("doctor", "--json", "--kvm", "/nonexistent")[1]
        after()
        found = [(c["state"], c.get("code"), c.get("fix")) for c in json.loads(text[text.index("{"):])["checks"] if c["name"] == name]
        tap.ok(len(found) == 1 and found[0][1] == code and bool(found[0][2]) == bool(code), "%s: doctor finds it: %s" % (code, found))
        if code:
            induced.add(code)
    os.makedirs(path("empty"), exist_ok=True)
    look("E_TUN_MISSING", "tun", lambda: sh(["mount", "--bind", path("empty"), "/dev/net"]), lambda: sh(["umount", "/dev/net"]))
    if os.path.exists(PAGES):
        for word in "always within_size advise [never] deny force", "always within_size advise never [deny] force":
            with open(path("pages"), "w") as f:
                f.write(word + "\n")
            look("E_SMALL_PAGES", "pages", lambda: sh(["mount", "--bind", path("pages"), PAGES]), lambda: sh(["umount", PAGES]))
        with open(path("pages"), "w") as f:
            f.write("always within_size [advise] never deny force\n")
        look(None, "pages", lambda: sh(["mount", "--bind", path("pages"), PAGES]), lambda: sh(["umount", PAGES]))
    else:
        tap.skip("E_SMALL_PAGES", "this kernel has no huge pages for shared memory")
    with open("/proc/self/mountinfo") as f:
        mounted = [line.split()[4] for line in f if " - cgroup2 " in line]
    look("E_CGROUP", "cgroup", lambda: [sh(["umount", "-l", m]) for m in mounted], lambda: [sh(["mount", "-t", "cgroup2", "none", m]) for m in mounted])
    text = subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-c",
                           "echo 0 > /proc/sys/user/max_user_namespaces && exec %s/bin/mica doctor --json --kvm "
                           "/nonexistent" % top], capture_output=True, text=True, env={"HOME": top, "PATH": os.environ["PATH"]}).stdout
    if text.startswith("{"):
        found = [c.get("code") for c in json.loads(text)["checks"] if c["name"] == "userns"]
        tap.ok(found == ["E_USERNS"], "E_USERNS: doctor finds it: %s" % found)
        induced.add("E_USERNS")
    else:
        tap.skip("E_USERNS", "no user namespace to be had for the trial")
    text = mica("doctor", "--json", "--kvm", "/nonexistent", before=no_nft)[1]
    found = [c.get("code") for c in json.loads(text[text.index("{"):])["checks"] if c["name"] == "nftables"]
    tap.ok(found == ["E_NFT_MISSING"], "… doctor finds E_NFT_MISSING: %s" % found)


def network():
    if not ROOT:
        tap.skip("network", "needs root")
        return
    sh("ip link set lo up; ip tuntap add brmine mode tap; ip link set brmine up; ip addr add 10.44.0.1/24 dev brmine")
    before = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    bridge = "  - {name: vm, count: 0, ram_mb: 64, network: {bridge: %s, gateway: %s}}\n"
    up_notes("E_BRIDGE_TAKEN", "a bridge's name is somebody's interface", config(bridge % ("brmine", "10.45.0.1/24")), path("state-br"), net=True)
    up_notes("E_NFT_MISSING", "a kernel without nf_tables", config(bridge % ("brfault", "10.45.0.1/24")), path("state-nft"), net=True, before=no_nft)
    after = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    tap.ok(before == after, "no interface is left, none is changed: %r" % after)
    up_fails("E_RANGE_USED", "a range the host has addresses of", conf=config("  - {name: vm, network: {mode: isolated, range: 10.44.0.0/22}}\n"))
    sh("ip link del brmine")


def vms(bin_folder, agent):
    """What a daemon refuses: the code goes through frames and HTTP to the command line."""
    text = """config:
  host_groups:
  - {name: demo, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {bridge: brdemo, gateway: 10.77.1.1/29}}
  - {name: huge, count: 0, vcpu: 1, ram_mb: RAM, storage_size: 4M, network: {mode: none}}
  - {name: none, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, image: nowhere, network: {mode: none}}
  - {name: few, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, max_ram: 100M, network: {mode: none}}
  api: {port: %(port)d, tls: {enabled: %(tls)s}}
"""
    with open("/proc/meminfo") as f:
        text = text.replace("RAM", str(int(f.readline().split()[1]) >> 10))
    stack = Stack(bin_folder, agent, config=text)
    try:
        sock = ["--socket", stack.unix]
        check("E_NO_RAM", "more RAM than there is", *mica("vm", "launch", "huge", *sock), serving=True, why="memory|RAM")
        check("E_IMAGE_MISSING", "an image that is not in the store", *mica("vm", "launch", "none", *sock), serving=True)
        post(stack, "/hostgroup/few/nodes", {})
        check("E_QUOTA", "a host group's quota is used up", *mica("vm", "launch", "few", *sock), serving=True, why="max_ram is 100")
        check("E_TOKEN_REFUSED", "no token", *mica("vm", "list", "--url", stack.base("http"), "--token", "wrong"), serving=True)
        twice = ["secret", "create", "one", "--from-literal", "a-value", *sock]
        mica(*twice)
        check("E_NAME_TAKEN", "a secret of that name is there", *mica(*twice), serving=True)
        first = json.loads(post(stack, "/hostgroup/demo/nodes", {}))
        status, body = post(stack, "/hostgroup/demo/nodes", {"ip": first["ip"].split("/")[0]}, raw=True)
        tap.ok(status == 409 and "[E_ADDR_TAKEN]" in body, "E_ADDR_TAKEN: %s %s" % (status, body))
        induced.add("E_ADDR_TAKEN")
        for _ in range(8):
            status, body = post(stack, "/hostgroup/demo/nodes", {}, raw=True)
        tap.ok(status == 503 and "[E_ADDR_NONE]" in body, "E_ADDR_NONE: %s %s" % (status, body))
        induced.add("E_ADDR_NONE")
        state_clock(stack, first["hostname"])
    finally:
        stack.close()


def post(stack, target, body, raw=False):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    c.request("POST", target, json.dumps(body), {"Authorization": "Bearer " + stack.token, "Content-Type": "application/json"})
    r = c.getresponse()
    data = r.read().decode()
    c.close()
    if raw:
        return r.status, data
    return data


def state_clock(stack, name):
    """The host's clock was set back: records are of the future"""
    record = stack.state + "/vm/%s/record" % name
    stack.crash()
    with open(record) as f:
        text = f.read()
    with open(record, "w") as f:
        f.write(re.sub(r"(?m)^created_ns=.*$", "created_ns=3950000000000000000", text))
    stack.start()
    said = [line for line in stack.lines if "[E_CLOCK_BACK]" in line]
    tap.ok(len(said) == 1 and name in said[0], "E_CLOCK_BACK: %s" % said)
    induced.add("E_CLOCK_BACK")


def full(bin_folder, agent):
    """The disk fills up while the daemon runs."""
    if not ROOT:
        tap.skip("E_DISK_FULL", "of a running daemon: needs root")
        return
    stack = Stack(bin_folder, agent, config="""config:
  host_groups:
  - {name: demo, count: 0, vcpu: 1, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  api: {port: %(port)d, tls: {enabled: %(tls)s}}
""")
    try:
        stack.crash()
        moved = stack.state + ".was"
        os.rename(stack.state, moved)
        os.mkdir(stack.state)
        sh(["mount", "-t", "tmpfs", "-o", "size=8m", "none", stack.state])
        sh("cp -a %s/. %s/" % (moved, stack.state))
        stack.start()
        fd = os.open(stack.state + "/filler", os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(fd, bytes(65536))
        except OSError:
            os.close(fd)
        check_before = set(os.listdir(stack.state + "/vm"))
        status, text = mica("vm", "launch", "demo", "--socket", stack.unix)
        good, _ = three_lines(text, "E_DISK_FULL")
        tap.ok(good and status == 1, "E_DISK_FULL: of a running daemon: %r" % text)
        end = time.monotonic() + 10  # files go after the answer
        while time.monotonic() < end and set(os.listdir(stack.state + "/vm")) != check_before:
            time.sleep(0.02)
        now = set(os.listdir(stack.state + "/vm"))
        tap.ok(now == check_before, "… no folder of a VM is left: %s, before %s" % (now, check_before))
        os.unlink(stack.state + "/filler")
        status, text = mica("vm", "launch", "demo", "--socket", stack.unix)
        tap.ok(status == 0, "… with room again it goes on: %r" % text)
    finally:
        stack.close()
        subprocess.run(["umount", "-l", stack.state], capture_output=True)


def table():
    """Every code in the sources stands in the table, and the other way round."""
    source = os.path.join(HERE, "..", "..")
    used = set()
    for folder in ("api", "cli", "lib", "vmm"):
        for at, _, names in os.walk(os.path.join(source, folder)):
            for n in names:
                if n.endswith(".c") and n != "codes.c":
                    with open(os.path.join(at, n)) as f:
                        used |= set(re.findall(r'\[(E_[A-Z0-9_]+)\]|"(E_[A-Z]+_[A-Z_]+|E_[A-Z]{5,})"', f.read()))
    used = {a or b for a, b in used}
    tap.ok(used - set(TABLE) == set(), "every code has a row: %s" % sorted(used - set(TABLE)))
    tap.ok(set(TABLE) - used == set(), "every row is used: %s" % sorted(set(TABLE) - used))
    tap.ok(all(r["cause"] and r["fix"] for r in TABLE.values()), "each with cause and fix")


def main():
    bin_folder, agent = map(os.path.abspath, sys.argv[1:3])
    for name in ("mica", "core", "front", "jail", "vmm", "netd", "gate"):
        os.makedirs(top + "/bin", exist_ok=True)
        shutil.copy(os.path.join(bin_folder, name), top + "/bin/" + name)
    write("kernel/min/vmlinux", b"\x7fELF")
    write("kernel/emulated/vmlinux", b"\x7fELF")
    write("image/min.ext4", bytes(1 << 20))
    if ROOT:
        sh(["ip", "link", "set", "lo", "up"])
    TABLE.update({r["code"]: r for r in json.loads(mica("doctor", "--codes", "--json")[1])})
    try:
        table()
        for one in (kvm, emulated, state_folder, files, sockets, secrets, records, walls, network):
            one()
        vms(top + "/bin", agent)
        full(top + "/bin", agent)
        tap.ok(len(induced) >= (25 if ROOT else 15), "%d faults were induced" % len(induced))
        for code in sorted(set(TABLE) - induced):
            tap.skip(code, "not induced here")
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
