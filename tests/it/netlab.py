"""Network namespaces for tests: a "host", guests whose card is pumped to a VM's tap, an outside world with servers. Needs root.

A namespace lives as long as its descriptor; inside(ns, f) runs f in a thread that stands in it (setns is a thread's own matter), so sockets that f makes
stay there. Programs of the distribution run in one by Ns.run().
"""
import ctypes, errno, fcntl, os, select, shutil, socket, struct, subprocess, sys, threading

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETVNETHDRSZ = 0x400454ca, 0x400454d8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
VNET_BYTES = 12
libc = ctypes.CDLL(None, use_errno=True)


def _check(r):
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _in_thread(f):
    box = {}

    def go():
        try:
            box['r'] = f()
        except BaseException as e:
            box['e'] = e
    t = threading.Thread(target=go)
    t.start()
    t.join()
    if 'e' in box:
        raise box['e']
    return box.get('r')


class Ns:
    """A network namespace; Ns(fd=…) of one that is there."""

    def __init__(self, fd=None):
        def make():
            _check(libc.unshare(CLONE_NEWNET))
            return os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        self.fd = _in_thread(make) if fd is None else fd
        if fd is None:
            self.run('ip', 'link', 'set', 'lo', 'up')

    def inside(self, f):
        def go():
            _check(libc.setns(self.fd, CLONE_NEWNET))
            return f()
        return _in_thread(go)

    def argv(self, *argv):
        """By its path: a busybox nsenter would take its own applet of that name."""
        return ['nsenter', f'--net=/proc/self/fd/{self.fd}', shutil.which(argv[0]) or argv[0], *argv[1:]]

    def run(self, *argv, timeout=20):
        return subprocess.run(self.argv(*argv), pass_fds=[self.fd], capture_output=True, text=True, timeout=timeout)

    def popen(self, *argv, **kw):
        return subprocess.Popen(self.argv(*argv), pass_fds=[self.fd], **kw)

    def ip(self, *args):
        r = self.run('ip', *args)
        assert r.returncode == 0, f'ip {" ".join(args)}: {r.stderr}'
        return r.stdout

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def here():
    return Ns(os.open('/proc/thread-self/ns/net', os.O_RDONLY))


def own_host(*args):
    """The test's program begins again in a network namespace of its own, its "host"; None: only root may."""
    if os.geteuid() != 0:
        return None
    if os.environ.get('MICA_NETNS') != '1':
        os.environ['MICA_NETNS'] = '1'
        os.execvp('unshare', ['unshare', '-n', sys.executable, os.path.abspath(sys.argv[0]), *args])
    host = here()
    host.ip('link', 'set', 'lo', 'up')
    return host


def goes_on(s):
    """What becomes of a flow that runs: 'goes on', 'ended', or the error's name."""
    s.settimeout(3)
    try:
        s.send(b'more')
        return 'goes on' if s.recv(100) else 'ended'
    except OSError as e:
        return type(e).__name__


def veth(a, name_a, b, name_b):
    """A pair between two namespaces, both ends up."""
    a.run('ip', 'link', 'del', name_a)
    r = subprocess.run(a.argv('ip', 'link', 'add', name_a, 'type', 'veth', 'peer', 'name', name_b, 'netns', f'/proc/self/fd/{b.fd}'),
                       pass_fds=[a.fd, b.fd], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    a.ip('link', 'set', name_a, 'up')
    b.ip('link', 'set', name_b, 'up')


def jail_opens(ns, dns=False):
    """What jail does for J_NETNS, without the sockets of DNS: [route, rules, events, namespace] (the caller closes them)."""
    def go():
        for path, value in (('ipv4/ip_forward', '1'), ('ipv6/conf/default/accept_dad', '0'), ('ipv6/conf/all/forwarding', '1'), ('ipv4/icmp_ratelimit', '0'),
                            ('ipv6/icmp/ratelimit', '0'), ('netfilter/nf_conntrack_acct', '1')):
            try:
                with open('/proc/sys/net/' + path, 'w') as f:
                    f.write(value)
            except OSError:
                pass
        return [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, p).detach() for p in (0, 12, 12)]
    return ns.inside(go) + [os.dup(ns.fd)]


class Guest:
    """A namespace whose eth0 is what the guest of a VM would have: every frame goes to and from the VM's tap descriptor."""

    def __init__(self, vm_tap_fd, mac, addr4, gw4, addr6=None, gw6=None):
        self.ns, self.vm_fd = Ns(), vm_tap_fd
        self.fd = self.ns.inside(self._tap)
        for path in ('eth0/accept_dad', 'eth0/accept_ra'):
            self.ns.run('sh', '-c', f'echo 0 > /proc/sys/net/ipv6/conf/{path}')
        self.ns.ip('link', 'set', 'eth0', 'address', mac, 'up')
        self.ns.ip('addr', 'add', addr4, 'dev', 'eth0')
        self.ns.ip('route', 'add', 'default', 'via', gw4)
        if addr6:
            self.ns.ip('addr', 'add', addr6, 'dev', 'eth0', 'nodad')
            self.ns.ip('route', 'add', 'default', 'via', gw6, 'dev', 'eth0')
        self.stop_r, self.stop_w = os.pipe()
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    @staticmethod
    def _tap():
        fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', b'eth0', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack('i', VNET_BYTES))
        return fd

    def _pump(self):
        while True:
            ready, _, _ = select.select([self.fd, self.vm_fd, self.stop_r], [], [])
            if self.stop_r in ready:
                return
            for a, b in ((self.fd, self.vm_fd), (self.vm_fd, self.fd)):
                if a in ready:
                    for _ in range(64):
                        try:
                            os.write(b, os.read(a, 70000))
                        except BlockingIOError:
                            break
                        except OSError as e:
                            if e.errno not in (errno.EIO, errno.EBADFD, errno.ENOBUFS):
                                return
                            break

    def raw(self, frame):
        """A frame as a hostile guest would write it, past its own network stack."""
        os.write(self.vm_fd, bytes(VNET_BYTES) + frame)

    def close(self):
        os.write(self.stop_w, b'x')
        self.thread.join()
        for fd in (self.fd, self.vm_fd, self.stop_r, self.stop_w):
            os.close(fd)
        self.ns.close()


# ---- servers and clients ----

class Servers:
    """TCP (says its peer's address and closes when asked) and UDP echo, in one namespace."""

    def __init__(self, ns, tcp=(), udp=()):
        self.socks, self.run = [], True
        for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            for port in ports:
                s = ns.inside(lambda: socket.socket(socket.AF_INET6, kind))
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(('::', port))
                if kind == socket.SOCK_STREAM:
                    s.listen(64)
                threading.Thread(target=self._tcp if kind == socket.SOCK_STREAM else self._udp, args=(s,), daemon=True).start()
                self.socks.append(s)

    def _tcp(self, s):
        while True:
            try:
                c, peer = s.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c, peer), daemon=True).start()

    @staticmethod
    def _serve(c, peer):
        try:
            c.sendall(peer[0].replace('::ffff:', '').encode() + b'\n')
            while True:
                data = c.recv(65536)
                if not data:
                    break
                c.sendall(data)
        except OSError:
            pass
        c.close()

    @staticmethod
    def _udp(s):
        while True:
            try:
                data, peer = s.recvfrom(65536)
                s.sendto(data, peer)
            except OSError:
                return

    def close(self):
        for s in self.socks:
            s.close()


def _family(addr):
    return socket.AF_INET6 if ':' in addr else socket.AF_INET


WORDS = {errno.ECONNREFUSED: 'refused', errno.EHOSTUNREACH: 'prohibited', errno.EACCES: 'prohibited', errno.ENETUNREACH: 'unreachable',
         errno.ECONNRESET: 'refused'}


def _word(e):
    if isinstance(e, (TimeoutError, socket.timeout)):
        return 'silence'
    return WORDS.get(e.errno, str(e))


def connect(ns, addr, port, timeout=3):
    s = ns.inside(lambda: socket.socket(_family(addr), socket.SOCK_STREAM))
    s.settimeout(timeout)
    s.connect((addr, port))
    return s


def tcp(ns, addr, port, timeout=3):
    """'ok', 'refused' (a reset), 'prohibited' (ICMP), 'silence', …"""
    try:
        s = connect(ns, addr, port, timeout)
        word = 'ok' if s.recv(100) else 'closed'
        s.close()
        return word
    except OSError as e:
        return _word(e)


def udp(ns, addr, port, timeout=3, data=b'ping'):
    s = ns.inside(lambda: socket.socket(_family(addr), socket.SOCK_DGRAM))
    s.settimeout(timeout)
    try:
        s.connect((addr, port))
        s.send(data)
        return 'ok' if s.recv(65536) == data else 'other'
    except OSError as e:
        return _word(e)
    finally:
        s.close()


def ping(ns, addr, timeout=2):
    return ns.run('ping', '-n', '-c', '1', '-W', str(timeout), addr).returncode == 0


# ---- frames ----

def mac_bytes(text):
    return bytes.fromhex(text.replace(':', ''))


def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(src, dst, proto, payload):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0, socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload


def udp_packet(sport, dport, data):
    return struct.pack('!HHHH', sport, dport, 8 + len(data), 0) + data


def ethernet(dst, src, kind, payload):
    return mac_bytes(dst) + mac_bytes(src) + struct.pack('!H', kind) + payload


def arp(sender_mac, sender_ip, target_mac, target_ip, op=2):
    return struct.pack('!HHBBH', 1, 0x800, 6, 4, op) + mac_bytes(sender_mac) + socket.inet_aton(sender_ip) + mac_bytes(target_mac) + socket.inet_aton(target_ip)
