"""nft by traffic, for guest_rules.py: name, a rule set ("FORWARD {": the beginning of a chain, as in CHAINS), what is tried and what must come back; then what needs more than that."""
import os
import re
import subprocess
import time

CHAINS = {"FORWARD": "chain forward { type filter hook forward priority 0;", "PRENAT": "chain prenat { type nat hook prerouting priority -100;",
          "POSTNAT": "chain postnat { type nat hook postrouting priority 100;", "PRE": "chain pre { type filter hook prerouting priority -150;",
          "RAW": "chain raw { type filter hook prerouting priority -300;", "OUTPUT": "chain output { type filter hook output priority 0;"}
RST = "reject with tcp reset"

ACTS = [
    ("sets and intervals", "table inet t { set p { type inet_service; flags interval; elements = { 81-82 }; }\nFORWARD { tcp dport @p RST; } }",
     [("tcp 81", "^refused"), ("tcp 82 to6 B", "^refused"), ("tcp 80", "^b "), ("sh nft delete element inet t p { 81-82 }", ""), ("tcp 81", "^b ")]),
    ("concatenations with ranges", "table ip t { set s { type ipv4_addr . inet_service; flags interval; elements = { 10.61.2.0-10.61.2.2 . 81-82 }; }\nFORWARD { ip daddr . tcp dport @s RST; } }",
     [("tcp 81", "^refused"), ("tcp 81 to C", "^c "), ("tcp 80", "^b ")]),
    ("verdict maps", "table inet t { chain no { meta l4proto tcp RST; }\nFORWARD { tcp dport vmap { 80 : accept, 81 : jump no, 82 : goto no }; } }", [("tcp 80", "^b "), ("tcp 81", "^refused"), ("tcp 82", "^refused")]),
    ("a map of destinations", "table ip t { map m { type inet_service : ipv4_addr . inet_service; elements = { 8081 : $B . 81, 8082 : $C . 82 }; }\nPRENAT { dnat ip to tcp dport map @m; } }",
     [("tcp 8081 to RA", "^b $B 81 from $A "), ("tcp 8082 to RA", "^c $C 82 ")]),
    ("numgen shares out by turns", "table ip t {\nPRENAT { tcp dport 80 dnat to numgen inc mod 2 map { 0 : $B, 1 : $C }; } }", [("tcp 80 to RA times 4", "^b [^\n]*\nc [^\n]*\nb [^\n]*\nc |^c [^\n]*\nb [^\n]*\nc [^\n]*\nb ")]),
    ("jhash keeps a source where it was", "table ip t {\nPRENAT { tcp dport 80 dnat to jhash ip saddr mod 2 seed 5 map { 0 : $B, 1 : $C }; } }", [("tcp 80 to RA times 4", "^(b|c) [^\n]*(\n\\1 [^\n]*){3}$")]),
    ("limit and burst", "table inet t {\nFORWARD { tcp flags syn / syn,ack limit rate 1/hour burst 3 packets accept; tcp flags syn / syn,ack RST; } }", [("tcp 80 times 6", "^b .*refused$")]),
    ("a meter counts each source", "table inet t { set m { type ipv4_addr; size 99; flags dynamic; }\nFORWARD { tcp flags syn / syn,ack update @m { ip saddr limit rate over 1/hour burst 2 packets } RST; } }",
     [("tcp 80 times 5", "^b .*refused$"), ("tcp 7080 to RA at b", "^r "), ("sh nft list set inet t m", "$A limit")]),
    ("ct count in a set: one connection at once", "table inet t { set m { type ipv4_addr; size 99; flags dynamic; }\nFORWARD { tcp dport 80 ct state new add @m { ip saddr ct count over 1 } RST; } }",
     [("tcp 80 hold", "^b "), ("tcp 80", "^refused"), ("tcp 81", "^b ")]),
    ("quota", "table inet t { quota q { over 2000 bytes; }\nFORWARD { udp dport 53 quota name \"q\" reject; } }", [("udp 53", "^b "), ("udp 53 text " + "q" * 1300 + " times 2", "ECONNREFUSED$"), ("sh nft list quota inet t q", "used [0-9]")]),
    ("named counters", "table inet t { counter c { }\nFORWARD { tcp dport 81 counter name \"c\"; } }", [("tcp 81", "^b "), ("sh nft list counter inet t c", "packets [1-9]"), ("sh nft reset counter inet t c", "packets [1-9]"),
     ("sh nft list counter inet t c", "packets 0")]),
    ("masquerade, and snat of a prefix", "table ip t {\nPOSTNAT { oif br0 tcp dport 80 masquerade; oif br0 udp dport 53 snat to $R:20000-20010; } }", [("tcp 80", "from $R "), ("udp 53", "from $R ")]),
    ("masquerade, IPv6", "table ip6 t {\nPOSTNAT { oif br0 masquerade; } }", [("tcp 80 to6 B", "^b fd61:2::2 80 from fd61:2::1 ")]),
    ("redirect", "table inet t {\nPRENAT { tcp dport 80 redirect to :7080; } }", [("tcp 80", "^r $RA 7080"), ("tcp 80 to6 B", "^r fd61:1::1 7080"), ("tcp 81", "^b ")]),
    ("tproxy and socket", "table inet t { chain pre { type filter hook prerouting priority -150; iif va tcp dport 80 socket transparent 1 meta mark set 1 accept; iif va tcp dport 80 meta mark set 1 tproxy to :7081 accept; } }",
     [("tcp 80", "^r $B 80 from $A "), ("tcp 80 to C", "^r $C 80 "), ("tcp 81", "^b ")]),
    ("fib: what is the router's own", "table inet t {\nPRE { meta l4proto tcp tcp dport { 81, 7080 } fib daddr type local RST; } }", [("tcp 7080 to RA", "^refused"), ("tcp 81", "^b ")]),
    ("fib: a source that lives elsewhere", "table inet t {\nPRE { iif va fib saddr . iif oif missing drop; } }", [("udp 53 wait 2 src $B9", "^timeout"), ("udp 53", "^b ")]),
    ("a connection's mark comes back with the answer", "table inet t {\nPRE { iif va tcp dport 81 ct mark set 9; iif br0 meta mark set ct mark; }\nFORWARD { iif br0 tcp sport 81 meta mark != 9 drop; } }", [("tcp 81", "^b ")]),
    ("whose socket it is", "table inet t {\nOUTPUT { meta skuid 1000 tcp dport 81 RST; } }", [("tcp 81 at r uid 1000", "^refused"), ("tcp 81 at r", "^b ")]),
    ("tcp option maxseg, ip dscp, ttl", "table inet t {\nFORWARD { tcp flags syn tcp option maxseg size set 700; udp dport 53 ip dscp set ef; udp dport 53 ip ttl set 9; } }", [("tcp 80", "mss 6[0-9][0-9]$"), ("udp 53", "tos 184 ttl 9")]),
    ("a helper: FTP's data connection is related", "table inet t { ct helper ftp { type \"ftp\" protocol tcp; }\nPRE { tcp dport 21 ct helper set \"ftp\"; }\nFORWARD { ct state established,related accept; tcp dport 21 accept; meta l4proto tcp RST; } }",
     [("tcp 4000", "^refused"), ("tcp 21 hold", "^b "), ("talk PASV\\r\\n", "^227 "), ("tcp 4000", "^b .* 4000 "), ("tcp 81", "^refused")]),
    ("notrack", "table inet t {\nRAW { tcp dport 81 notrack; tcp sport 81 notrack; }\nFORWARD { tcp dport 81 ct state != untracked RST; } }", [("tcp 81", "^b ")]),
    ("synproxy", "table inet t {\nRAW { iif va tcp dport 80 tcp flags syn notrack; }\nFORWARD { tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm; ct state invalid drop; } }",
     [("sh sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0", ""), ("tcp 80", "^b "), ("sh sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1", "")]),
    ("log", "table inet t {\nFORWARD { tcp dport 81 log prefix \"seen-nft: \" RST; } }", [("tcp 81", "^refused"), ("kernel", "seen-nft: IN=va OUT=br0.*DPT=81 ")]),
    ("queue without a program", "table inet t {\nFORWARD { udp dport 53 queue num 9 bypass; udp dport 54 queue num 9; } }", [("udp 53", "^b "), ("udp 54 wait 2", "^timeout")]),
    ("family bridge, between two ports", "table bridge t { chain pre { type filter hook prerouting priority 0; iifname vb ip daddr $C tcp dport 81 RST; iifname vb ether type ip6 tcp dport 82 RST; }\nFORWARD { udp dport 54 drop; } }", [("tcp 81 to C at b", "^refused"), ("tcp 80 to C at b", "^c "), ("tcp 82 to6 C at b", "^refused"), ("udp 54 to C at b wait 2", "^timeout"), ("udp 54", "^b "), ("tcp 81", "^b ")]),
    ("family bridge keeps state", "table bridge t {\nFORWARD { ct state established accept; tcp dport 80 ct state new accept; meta l4proto tcp drop; } }", [("tcp 80 to C at b", "^c "), ("tcp 81 to C at b wait 2", "^timeout")]),
    ("family netdev, ingress", "table netdev t { chain in { type filter hook ingress device va priority 0; tcp dport 81 RST; udp dport 54 drop; } }", [("tcp 81", "^refused"), ("tcp 80", "^b "), ("udp 54 wait 2", "^timeout")]),
    ("family netdev, egress", "table netdev t { chain out { type filter hook egress device vb priority 0; udp dport 54 drop; } }", [("udp 54 wait 2", "^timeout"), ("udp 54 to C", "^c "), ("udp 53", "^b ")]),
    ("family inet, ingress", "table inet t { chain in { type filter hook ingress device va priority 0; ip daddr $C udp dport 53 drop; } }", [("udp 53 to C wait 2", "^timeout"), ("udp 53", "^b ")]),
    ("family arp", "table arp t { chain in { type filter hook input priority 0; arp operation request arp saddr ip $A drop; counter; } }", [("sh ip neigh flush dev va; ping -c 1 -W 9 $A >/dev/null 2>&1; nft list ruleset", "counter packets"), ("tcp 80", "^b ")]),
    ("dup: a copy goes elsewhere", "table ip t {\nPRE { iif va udp dport 53 dup to $C device \"br0\"; } }\ntable netdev n { chain out { type filter hook egress device vc priority 0; udp dport 53 counter name \"got\"; }\ncounter got { } }",
     [("udp 53", "^b "), ("sh nft list counter netdev n got", "packets [1-9]")]),
    ("time, by the second", "table inet t {\nFORWARD { tcp dport 81 meta time > \"2020-01-01\" RST; tcp dport 82 meta time < \"2020-01-01\" RST; } }", [("tcp 81", "^refused"), ("tcp 82", "^b ")]),
]


def ruleset(text):
    for name, begin in CHAINS.items():
        text = re.sub(r"(?m)^%s \{" % name, begin, text)
    return re.sub(r"\} (?=\})", "}\n", text.replace("RST", RST)) + "\n"


def part(run, lab):
    lab.r.sh("ip rule add fwmark 1 lookup 100; ip route add local default dev lo table 100; ip -6 rule add fwmark 1 lookup 100; ip -6 route add local default dev lo table 100\n"
             "ip -n a addr add 10.61.9.2/32 dev lo; ip route add 10.61.9.2 dev br0")

    def look(text, probes):
        lab.r.sh("nft -f -", run.fill("flush ruleset\n" + ruleset(text), run.V4))
        try:
            run.acts(lab, run.V4, probes)
        finally:
            lab.a.ask("close")
            lab.r.sh("nft flush ruleset")
    for name, text, probes in ACTS:
        run.tell("nft: " + name, lambda: look(text, probes))
    for check in flow_table, big_set, broken_file, time_out, monitor, trace, tuples:
        run.tell("nft: " + check.__doc__, lambda: check(run, lab))
        lab.a.ask("close")
        lab.r.sh("nft flush ruleset")


def flow_table(run, lab):
    """a flow table takes an established connection over"""
    lab.r.sh("nft -f -", ruleset("table inet t { flowtable f { hook ingress priority 0; devices = { va, br0 }; counter; }\n"
                                 "FORWARD { ct state established meta l4proto tcp flow add @f; tcp dport 80 counter; } }"))
    run.acts(lab, run.V4, [("tcp 80 hold", "^b ")] + [("talk word%d" % n, "word%d" % n) for n in range(20)] + [("sh conntrack -L -p tcp --dport 80 2>/dev/null", "OFFLOAD")])
    passed = int(re.search(r"dport 80 counter packets (\d+)", lab.r.sh("nft list ruleset")).group(1))
    if not 0 < passed < 20:
        raise RuntimeError("%d packets passed the rule, with 20 words said" % passed)


def big_set(run, lab):
    """nft -f with 20000 elements, replaced at once"""
    for port, other in ((81, 82), (82, 81)):
        elements = ", ".join("10.61.%d.%d . %d" % (n // 250, n % 250, port) for n in range(20000))
        lab.r.sh("nft -f -", "flush ruleset\ntable ip t { set s { type ipv4_addr . inet_service; elements = { %s }; }\n%s" % (elements, ruleset("FORWARD { ip daddr . tcp dport @s RST; } }")))
        run.acts(lab, run.V4, [("tcp %d" % port, "^refused"), ("tcp %d" % other, "^b ")])


def broken_file(run, lab):
    """a file with an error in its last line changes nothing"""
    lab.r.sh("nft -f -", ruleset("table ip t {\nFORWARD { tcp dport 81 RST; } }"))
    code, _, _ = lab.r.ask("run", "nft -f -", "flush ruleset\ntable ip u { }\nadd rule ip none none accept\n")
    if code == 0 or "table ip u" in lab.r.sh("nft list ruleset"):
        raise RuntimeError("it was taken")
    run.acts(lab, run.V4, [("tcp 81", "^refused")])


def time_out(run, lab):
    """an element goes when its time is over"""
    lab.r.sh("nft -f -", ruleset("table ip t { set s { type ipv4_addr; flags timeout; elements = { 10.61.1.2 timeout 1h }; }\nFORWARD { ip saddr @s tcp dport 81 RST; } }"))
    run.acts(lab, run.V4, [("tcp 81", "^refused")])
    lab.r.sh("nft -f -", "delete element ip t s { 10.61.1.2 }\nadd element ip t s { 10.61.1.2 timeout 2s }\n")
    lab.until(lambda: lab.a.ask("tcp", "10.61.2.2", 81), "^b ")


def monitored(lab, what, act, want):
    """nft monitor in r while something is done, until it says it."""
    proc = subprocess.Popen(["ip", "netns", "exec", "r", "stdbuf", "-oL", "nft", "monitor"] + what, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    try:
        got, end = "", time.monotonic() + 30
        os.set_blocking(proc.stdout.fileno(), False)
        while not re.search(want, got, re.S):
            if time.monotonic() > end:
                raise RuntimeError("nft monitor said %r" % got[-300:])
            act()
            time.sleep(0.3)
            got += (proc.stdout.read() or b"").decode()
    finally:
        proc.kill()
        proc.wait()


def monitor(run, lab):
    """nft monitor tells what is added and deleted"""
    monitored(lab, [], lambda: lab.r.sh("nft 'add table ip m; add set ip m s { type ipv4_addr; }; add element ip m s { 10.0.0.7 }'; nft delete table ip m"), r"add table ip m.*add element ip m s.*delete table ip m")


def trace(run, lab):
    """nftrace tells which rule a packet met"""
    lab.r.sh("nft -f -", ruleset("table inet t {\nFORWARD { tcp dport 81 meta nftrace set 1; tcp dport 81 RST; } }"))
    monitored(lab, ["trace"], lambda: lab.a.ask("tcp", "10.61.2.2", 81), r"trace id \w+ inet t forward rule tcp dport 81 reject")


def tuples(run, lab):
    """conntrack: lists, tells events, deletes"""
    lab.r.sh("nft -f -", ruleset("table ip t {\nFORWARD { ct state new accept; } }"))  # without a rule that asks, connections are not tracked
    proc = subprocess.Popen(["ip", "netns", "exec", "r", "sh", "-c", "timeout 30 conntrack -E -p udp --dport 54 2>/dev/null | head -1"], stdout=subprocess.PIPE, text=True)
    while proc.poll() is None:
        lab.a.ask("udp", "10.61.2.2", 54)
        time.sleep(0.3)
    said = proc.stdout.read()
    if "[NEW]" not in said and "[UPDATE]" not in said:
        raise RuntimeError("no event: %r" % said)
    run.acts(lab, run.V4, [("sh conntrack -L -p udp --dport 54 2>/dev/null", "src=10.61.1.2 dst=10.61.2.2")])
    lab.r.sh("conntrack -D -p udp --dport 54 >/dev/null 2>&1")
    if "dport=54" in lab.r.sh("conntrack -L -p udp 2>/dev/null"):
        raise RuntimeError("it is still there")
