#!/usr/bin/env python3
"""guest_rules.py PART: runs inside a guest, as root. Do the rules of iptables, ip6tables and nft load on its kernel, and do they act on packets?

A client (name a) and two servers (b, c) are network namespaces around a router r: a - veth - r, and b, c behind a bridge of r. Rules stand in r; what a sees when it connects is
held against what the rule says. One line for each thing looked at: "ok NAME" or "bad NAME: why"; the last one is "end". PARTs: load, nft, or a program: iptables-nft,
iptables-legacy, ip6tables-nft, ip6tables-legacy. case_rules.py brings it in and reads what it says."""
import ctypes
import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import rules_list

LONG, SHORT = 30, 1.5  # seconds: for an answer that must come, and until one that must not come is believed to be absent
V4 = {"A": "10.61.1.2", "RA": "10.61.1.1", "R": "10.61.2.1", "B": "10.61.2.2", "C": "10.61.2.3", "NETB": "10.61.2.0/24", "OTHER": "10.61.9.0/24", "B9": "10.61.9.2", "ONE": "32",
      "SPAN": "10.61.2.1-10.61.2.2", "inet": "inet", "v": "-4", "fam": "ipv4", "R9": "10.61.2.9", "BP": "10.61.2.2"}
V6 = {"A": "fd61:1::2", "RA": "fd61:1::1", "R": "fd61:2::1", "B": "fd61:2::2", "C": "fd61:2::3", "NETB": "fd61:2::/64", "OTHER": "fd61:9::/64", "B9": "fd61:9::2", "ONE": "128",
      "SPAN": "fd61:2::1-fd61:2::2", "inet": "inet6", "v": "-6", "fam": "ipv6", "R9": "fd61:2::9", "BP": "[fd61:2::2]"}


def run(script, stdin=""):
    done = subprocess.run(["sh", "-c", script], input=stdin, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, (done.stdout + done.stderr).strip()


def need(script, stdin=""):
    code, out, text = run(script, stdin)
    if code:
        raise RuntimeError("%s: %d %s" % (script[:200], code, text[-300:]))
    return out


class Host:
    """A process in a network namespace that connects, answers and runs commands there."""

    def __init__(self, name):
        self.name, self.held = name, []
        mine, theirs = socket.socketpair()
        if os.fork() == 0:
            mine.close()
            self.serve(theirs.makefile("rw"))
            os._exit(0)
        self.file = mine.makefile("rw")

    def ask(self, op, *args, **named):
        self.file.write(json.dumps([op, args, named]) + "\n")
        self.file.flush()
        answer = json.loads(self.file.readline())
        if answer[0] != "ok":
            raise RuntimeError("%s in %s: %s" % (op, self.name, answer[1]))
        return answer[1]

    def sh(self, script, stdin=""):
        return self.ask("need", script, stdin)

    def serve(self, file):
        with open("/run/netns/" + self.name) as ns:
            if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
        ops = {"need": need, "run": run, "tcp": self.tcp, "talk": self.talk, "udp": self.udp, "listen": self.listen, "close": self.close}
        for line in file:
            op, args, named = json.loads(line)
            try:
                answer = ["ok", ops[op](*args, **named)]
            except Exception as e:
                answer = ["bad", "%s: %s" % (type(e).__name__, e)]
            file.write(json.dumps(answer) + "\n")
            file.flush()

    # -- as a client
    def tcp(self, to, port, src=None, uid=0, hold=False, wait=LONG):
        """The banner of the server, or why there was none."""
        if uid:
            os.seteuid(uid)
        try:
            s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
            s.settimeout(wait)
            if src:
                s.bind((src, 0))
            s.connect((to, port))
            got = s.recv(200).decode().strip()
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))
        finally:
            if uid:
                os.seteuid(0)
        if hold:
            self.held.append(s)
        else:
            s.close()
        return got

    def talk(self, text, wait=LONG):
        """Says something on the connection that was held last."""
        try:
            self.held[-1].settimeout(wait)
            self.held[-1].sendall(text.encode())
            return self.held[-1].recv(4096).decode().strip()
        except TimeoutError:
            return "timeout"

    def udp(self, to, port, text="x", wait=LONG, src=None):
        s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if src:
                s.bind((src, 0))
            s.connect((to, port))
            s.settimeout(wait)
            s.send(text.encode())
            return s.recv(4096).decode()
        except TimeoutError:
            return "timeout"
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))
        finally:
            s.close()

    def close(self):
        for s in self.held:
            s.close()
        self.held.clear()

    # -- as a server
    def listen(self, tcp=(), udp=(), transparent=False):
        for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
            for port in ports:
                s = socket.socket(socket.AF_INET6, kind)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                if transparent:
                    s.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
                s.bind(("::", port))
                if kind == socket.SOCK_STREAM:
                    s.listen(64)
                threading.Thread(target=self.accept if kind == socket.SOCK_STREAM else self.echo, args=(s,), daemon=True).start()

    def accept(self, s):
        while True:
            conn, peer = s.accept()
            threading.Thread(target=self.answer, args=(conn, peer), daemon=True).start()

    def answer(self, conn, peer):
        """Its name, its own end, the other end, the largest segment that the other one takes."""
        try:
            mine = conn.getsockname()
            mss = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            conn.sendall(("%s %s %d from %s mss %d\n" % (self.name, plain(mine[0]), mine[1], plain(peer[0]), mss)).encode())
            while got := conn.recv(4096):
                if got == b"PASV\r\n":
                    got = b"227 Entering Passive Mode (10,61,2,2,%d,%d).\r\n" % divmod(4000, 256)
                conn.sendall(got)
        except OSError:
            pass
        conn.close()

    def echo(self, s):
        for level, option in ((socket.SOL_IP, socket.IP_RECVTOS), (socket.SOL_IP, 12), (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS), (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT)):
            s.setsockopt(level, option, 1)
        names = {(socket.SOL_IP, 1): "tos", (socket.SOL_IP, 2): "ttl", (socket.IPPROTO_IPV6, socket.IPV6_TCLASS): "tos", (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT): "ttl"}
        while True:
            data, more, _, peer = s.recvmsg(4096, 256)
            said = " ".join(sorted("%s %d" % (names[level, kind], int.from_bytes(value[:4], sys.byteorder)) for level, kind, value in more if (level, kind) in names))
            s.sendto(("%s %d from %s %s" % (self.name, s.getsockname()[1], plain(peer[0]), said)).encode(), peer)


def plain(address):
    return address.removeprefix("::ffff:")


class Lab:
    def __init__(self):
        need("for n in a r b c; do ip netns del $n 2>/dev/null; ip netns add $n; ip -n $n link set lo up; done\n"
             "ip -n r link add va type veth peer name eth0 netns a; ip -n r link add br0 type bridge\n"
             "for n in b c; do ip -n r link add v$n type veth peer name eth0 netns $n; ip -n r link set v$n master br0; ip -n r link set v$n up; done\n"
             "ip -n r link set va up; ip -n r link set br0 up\n"
             "for n in a b c r; do ip netns exec $n sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; done\n"
             "ip netns exec r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.va.rp_filter=0 net.ipv4.conf.br0.rp_filter=0 "
             "net.ipv4.conf.va.send_redirects=0 net.ipv4.icmp_ratelimit=0\n"
             "sysctl -qw net.netfilter.nf_log_all_netns=1")
        address = "ip -n %s addr add %s dev %s nodad; ip -n %s link set %s up"
        for name, where, dev in (("A", "a", "eth0"), ("RA", "r", "va"), ("R", "r", "br0"), ("B", "b", "eth0"), ("C", "c", "eth0")):
            need("\n".join(address % (where, family[name] + length, dev, where, dev) for family, length in ((V4, "/24"), (V6, "/64"))))
        for name, gate in (("a", "RA"), ("b", "R"), ("c", "R")):
            need("ip -n %s route add default via %s; ip -n %s -6 route add default via %s" % (name, V4[gate], name, V6[gate]))
        self.a, self.r, self.b, self.c = (Host(n) for n in "arbc")
        self.mac = need("ip -n a -br link show eth0").split()[2]
        for server in self.b, self.c:
            server.ask("listen", tcp=[21, 80, 81, 82, 4000], udp=[53, 54])
        self.r.ask("listen", tcp=[7080])
        self.r.ask("listen", tcp=[7081], transparent=True)
        for name in "B", "C":
            for family in V4, V6:
                self.until(lambda: self.a.ask("tcp", family[name], 80), r"^%s " % name.lower())

    def until(self, ask, want):
        end = time.monotonic() + LONG
        while not re.search(want, got := str(ask())):
            if time.monotonic() > end:
                raise RuntimeError("never %s but %s" % (want, got))
            time.sleep(0.1)

    def probe(self, words, family):
        """'tcp 80 [to B] [from a] [uid 1000] [times 3] [hold]' and so on: what comes back."""
        words = fill(words, family).split()
        kind, rest, named, times = words[0], words[1:], {}, 1
        if kind == "sh":
            return self.r.sh(" ".join(rest))
        if kind == "talk":
            return self.a.ask("talk", " ".join(rest).replace("\\r\\n", "\r\n"))
        if kind == "kernel":
            return need("dmesg | tail -50")
        port, rest, to, host = int(rest[0]), rest[1:], family["B"], self.a
        while rest:
            word, rest = rest[0], rest[1:]
            if word in ("hold",):
                named[word] = True
                continue
            value, rest = rest[0], rest[1:]
            if word == "to":
                to = family.get(value, value)
            elif word == "to6":
                to = V6[value]
            elif word == "at":
                host = getattr(self, value)
            elif word == "times":
                times = int(value)
            elif word in ("text", "src"):
                named[word] = value
            else:
                named[word] = float(value) if word == "wait" else int(value)
        return "\n".join(host.ask(kind, to, port, **named) for _ in range(times))


def fill(text, words):
    return re.sub(r"\$(\w+)", lambda m: words[m.group(1)], text)


def tell(name, check):
    try:
        check()
        print("ok " + name, flush=True)
    except Exception as e:
        print("bad %s: %s" % (name, " ".join(("%s %s" % ("" if isinstance(e, RuntimeError) else type(e).__name__, e)).split())[:600]), flush=True)


def acts(lab, family, probes):
    for words, want in probes:
        got = lab.probe(words, family)
        want = fill(want, family)
        if not re.search(want, got, re.S):
            raise RuntimeError("%s gave %r, not %s" % (words, got[-300:], want))


TABLES = {"filter": "INPUT FORWARD OUTPUT", "nat": "PREROUTING INPUT OUTPUT POSTROUTING", "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING", "raw": "PREROUTING OUTPUT"}


def restore(rules):
    """What iptables-restore reads: these rules and no others."""
    text = []
    for table, chains in TABLES.items():
        text += ["*" + table] + [":%s ACCEPT [0:0]" % chain for chain in chains.split()]
        for rule in rules:
            which, line = re.match(r"(?:-t (\w+) )?(.*)", rule).groups()
            if (which or "filter") == table:
                text.append(":%s - [0:0]" % line[3:] if line.startswith("-N ") else "-A " + line)
        text.append("COMMIT")
    return "\n".join(text) + "\n"


def words_of(family, lab):
    return dict(family, MAC=lab.mac, RST="-j REJECT --reject-with tcp-reset")


def find_bad(rules, load, bad):
    """All at once, which is quick; what does not load is looked for by halves."""
    why = load(rules)
    if why and len(rules) == 1:
        bad.append("%s: %s" % (rules[0], " ".join(why.split())[:300]))
    elif why:
        find_bad(rules[:len(rules) // 2], load, bad)
        find_bad(rules[len(rules) // 2:], load, bad)
    return bad


def loads(name, rules, load):
    """First what stands around the rules."""
    why = load([])
    bad = [why] if why else find_bad(rules, load, [])
    for line in bad:
        print("bad %s %s" % (name, line), flush=True)
    if not bad:
        print("ok %s: %d rules load" % (name, len(rules)), flush=True)


def part_load(lab):
    need("ip netns exec r sh -c 'for v in inet inet6; do ipset create s$v hash:ip family $v; ipset create l$v list:set; done; ipset create ports bitmap:port range 0-65535'")
    for program in ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"):
        family = V6 if "6" in program else V4
        words = words_of(family, lab)

        def load(rules):
            code, _, text = lab.r.ask("run", program + "-restore", restore(fill(r, words) for r in rules))
            return text or "it failed" if code else ""
        loads(program, rules_list.BOTH + (rules_list.ONLY6 if "6" in program else rules_list.ONLY4), load)
        lab.r.sh(program + "-restore", restore([]))
    for kind in rules_list.IPSETS:
        tell("ipset " + kind, lambda: lab.r.sh("ipset create t %s && ipset list t >/dev/null && ipset destroy t" % kind))
    for rule in rules_list.OTHER:
        tell(rule.split(";")[0], lambda: lab.r.sh(rule))
    for head, rules in rules_list.NFT:
        def load(rules):
            code, _, text = lab.r.ask("run", "nft -f -", fill("flush ruleset\n%s\n%s\n}\n}\n" % (head, "\n".join(rules)), V4))
            return text or "it failed" if code else ""
        loads("nft " + head[:head.index("{")] + re.findall(r"hook \w+", head)[-1], rules, load)
    lab.r.sh("nft flush ruleset")


def part_iptables(lab, program):
    family = V6 if "6" in program else V4
    for name, rules, probes in rules_list.ACTS:
        if name.endswith(" (4)") and family is V6:
            continue

        def check():
            words = dict(words_of(family, lab), ipt=program)
            for line in rules:
                if line.startswith("! "):
                    lab.r.sh(fill(line[2:], words))
            try:
                lab.r.sh(program + "-restore", restore([fill(r, words) for r in rules if r[1] != " "]))
                acts(lab, words, probes)
            finally:
                lab.a.ask("close")
                lab.r.ask("run", program + "-restore", restore([]))
                for line in rules:
                    if line.startswith("~ "):
                        lab.r.sh(fill(line[2:], words))
        tell("%s: %s" % (program, name.replace(" (4)", "")), check)


def main(part):
    lab = Lab()
    if part == "load":
        part_load(lab)
    elif part == "nft":
        import rules_nft
        rules_nft.part(sys.modules[__name__], lab)
    else:
        part_iptables(lab, part)
    print("end", flush=True)
    os._exit(0)


main(sys.argv[1])
