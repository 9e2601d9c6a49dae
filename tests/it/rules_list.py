"""What guest_rules.py loads and tries. $A, $B and so on are the addresses of its hosts, of the family that is tried."""
import re

# -- iptables: rules that must load, of IPv4 and IPv6 alike
BOTH = """
FORWARD -m conntrack --ctstate NEW,ESTABLISHED,RELATED,INVALID,UNTRACKED,SNAT,DNAT -j ACCEPT
FORWARD -p tcp -m conntrack --ctproto tcp --ctorigsrc $A --ctorigdstport 80 --ctdir ORIGINAL --ctexpire 1:300 -j ACCEPT
FORWARD -m conntrack --ctstatus ASSURED,SEEN_REPLY -j ACCEPT
FORWARD -m state --state NEW -j ACCEPT
FORWARD -p tcp -m multiport --dports 80,443,8000:8100 -j ACCEPT
FORWARD -p udp -m multiport ! --sports 1:1023 -j ACCEPT
FORWARD -m comment --comment "a comment of many words" -j ACCEPT
FORWARD -m limit --limit 5/min --limit-burst 3 -j ACCEPT
FORWARD -m hashlimit --hashlimit-name h1 --hashlimit-above 5/sec --hashlimit-mode srcip --hashlimit-srcmask 24 -j DROP
FORWARD -m hashlimit --hashlimit-name h2 --hashlimit-upto 100kb/s --hashlimit-mode dstip,dstport --hashlimit-htable-expire 10000 -j ACCEPT
FORWARD -m recent --name r1 --set -j ACCEPT
FORWARD -m recent --name r1 --update --seconds 60 --hitcount 3 --rttl -j DROP
FORWARD -m set --match-set s$inet src -j ACCEPT
FORWARD -p tcp -m set --match-set ports dst -j ACCEPT
FORWARD -j SET --add-set s$inet src --exist --timeout 9
FORWARD -m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT
FORWARD -m addrtype ! --src-type LOCAL -j ACCEPT
FORWARD -m mark --mark 0x1/0xff -j ACCEPT
FORWARD -m connmark ! --mark 0x2 -j ACCEPT
OUTPUT -m owner --uid-owner 1000-2000 -j ACCEPT
OUTPUT -m owner --gid-owner 0 --suppl-groups -j ACCEPT
OUTPUT -m owner --socket-exists -j ACCEPT
FORWARD -p tcp -m tcp --tcp-flags SYN,RST,ACK SYN --tcp-option 2 -j ACCEPT
FORWARD -p tcp --syn -j ACCEPT
FORWARD -m mac --mac-source $MAC -j ACCEPT
FORWARD -m iprange --src-range $SPAN --dst-range $SPAN -j ACCEPT
FORWARD -m string --algo bm --string "GET /" --to 500 -j ACCEPT
FORWARD -m string --algo kmp --hex-string "|0d 0a|x" --icase -j ACCEPT
FORWARD -m time --timestart 00:00 --timestop 23:59 --weekdays Mon,Tue --kerneltz -j ACCEPT
FORWARD -m time --datestart 2020-01-01T00:00:00 --monthdays 1,15 -j ACCEPT
FORWARD -m statistic --mode random --probability 0.5 -j ACCEPT
FORWARD -m statistic --mode nth --every 2 --packet 0 -j ACCEPT
FORWARD -m length --length 100:200 -j ACCEPT
FORWARD -m physdev --physdev-is-bridged --physdev-in vb --physdev-out vc -j ACCEPT
FORWARD -m u32 --u32 "6&0xFF=6" -j ACCEPT
FORWARD -m dscp --dscp-class EF -j ACCEPT
FORWARD -m tos --tos 0x10/0x3f -j ACCEPT
FORWARD -p tcp -m ecn --ecn-tcp-cwr -j ACCEPT
FORWARD -m ecn --ecn-ip-ect 1 -j ACCEPT
FORWARD -p esp -m esp --espspi 1:9 -j ACCEPT
FORWARD -p 108 -m ipcomp --ipcompspi 5 -j ACCEPT
FORWARD -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j ACCEPT
OUTPUT -m cgroup --cgroup 1 -j ACCEPT
OUTPUT -m cgroup --path system.slice -j ACCEPT
FORWARD -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef -j ACCEPT
FORWARD -m connbytes --connbytes 1000: --connbytes-dir both --connbytes-mode bytes -j ACCEPT
FORWARD -p tcp -m connlimit --connlimit-above 3 --connlimit-mask $ONE -j DROP
FORWARD -m cpu --cpu 0 -j ACCEPT
FORWARD -m devgroup --src-group 0 -j ACCEPT
FORWARD -m helper --helper ftp -j ACCEPT
FORWARD -m ipvs --ipvs -j ACCEPT
FORWARD -m pkttype --pkt-type unicast -j ACCEPT
FORWARD -m policy --dir in --pol none -j ACCEPT
FORWARD -m policy --dir out --pol ipsec --proto esp -j ACCEPT
FORWARD -m quota --quota 100000 -j ACCEPT
FORWARD -p sctp -m sctp --dport 80 --chunk-types any INIT -j ACCEPT
FORWARD -p tcp -m tcpmss --mss 500:1400 -j ACCEPT
FORWARD -p udp -m udp --dport 53 -j ACCEPT
FORWARD -p udplite -m multiport --dports 53 -j ACCEPT
FORWARD -m connlabel --label 40 --set -j ACCEPT
FORWARD -p tcp -j REJECT --reject-with tcp-reset
FORWARD -j LOG --log-prefix "seen: " --log-level info --log-tcp-options --log-uid
FORWARD -j NFLOG --nflog-group 5 --nflog-prefix "p" --nflog-threshold 2
FORWARD -j NFQUEUE --queue-num 3 --queue-bypass
FORWARD -j NFQUEUE --queue-balance 0:3 --queue-cpu-fanout
-t raw PREROUTING -m rpfilter --loose --validmark --invert -j DROP
-t raw PREROUTING -p tcp -j CT --notrack
-t raw PREROUTING -p tcp -j CT --zone 5
-t raw PREROUTING -p tcp -j CT --zone-orig mark
-t raw PREROUTING -p tcp --dport 21 -j CT --helper ftp
-t raw PREROUTING -p udp --dport 69 -j CT --helper tftp
-t raw PREROUTING -p udp --dport 5060 -j CT --helper sip
-t raw PREROUTING -p tcp --dport 10080 -j CT --ctevents new,destroy
-t raw PREROUTING -j NOTRACK
-t raw PREROUTING -j TRACE
-t mangle PREROUTING -m socket --transparent --nowildcard --restore-skmark -j MARK --set-xmark 0x1/0xffffffff
-t mangle PREROUTING -j MARK --and-mark 0xff
-t mangle PREROUTING -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf
-t mangle POSTROUTING -j CONNMARK --save-mark
-t mangle POSTROUTING -j CONNMARK --set-xmark 0x3/0x3
-t mangle POSTROUTING -j DSCP --set-dscp-class EF
-t mangle POSTROUTING -j TOS --set-tos 0x10/0xff
-t mangle POSTROUTING -j CLASSIFY --set-class 1:5
-t mangle POSTROUTING -p udp -j CHECKSUM --checksum-fill
-t mangle FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
-t mangle FORWARD -p tcp --syn -j TCPMSS --set-mss 1200
-t mangle FORWARD -p tcp -j TCPOPTSTRIP --strip-options sack-permitted,timestamp
-t mangle FORWARD -j TEE --gateway $C
-t mangle FORWARD -j IDLETIMER --timeout 60 --label idle$inet
-t mangle FORWARD -j HMARK --hmark-tuple src,dst,sport --hmark-mod 10 --hmark-offset 100 --hmark-rnd 7
-t mangle FORWARD -j RATEEST --rateest-name e$inet --rateest-interval 250ms --rateest-ewmalog 500ms
-t mangle PREROUTING -p tcp -j TPROXY --on-port 7081 --tproxy-mark 0x1/0x1
-t filter INPUT -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460
-t nat POSTROUTING -j MASQUERADE --random-fully
-t nat POSTROUTING -p tcp -j MASQUERADE --to-ports 10000-20000
-t nat POSTROUTING -j SNAT --to-source $SPAN --persistent
-t nat INPUT -p tcp -j SNAT --to-source $R
-t nat PREROUTING -d $RA -j DNAT --to-destination $SPAN --random
-t nat PREROUTING -p tcp -j REDIRECT --to-ports 7080-7090
-t nat PREROUTING -d $OTHER -j NETMAP --to $NETB
""".strip().split("\n")

ONLY4 = """
-t raw PREROUTING -p udp --dport 137 -j CT --helper netbios-ns
-t raw PREROUTING -p udp --dport 161 -j CT --helper snmp
-t raw PREROUTING -p udp --dport 10080 -j CT --helper amanda
-t raw PREROUTING -p tcp --dport 6566 -j CT --helper sane
-t raw PREROUTING -p tcp --dport 1720 -j CT --helper Q.931
FORWARD -p tcp -m osf --genre Linux --ttl 0 -j ACCEPT
FORWARD -m realm --realm 0x1 -j ACCEPT
-t raw PREROUTING -p tcp --dport 6667 -j CT --helper irc
-t raw PREROUTING -p tcp --dport 1723 -j CT --helper pptp
FORWARD -p icmp -m icmp --icmp-type echo-request -j ACCEPT
FORWARD -p ah -m ah --ahspi 1 -j ACCEPT
FORWARD -m ttl --ttl-gt 3 -j ACCEPT
FORWARD -j REJECT --reject-with icmp-admin-prohibited
FORWARD -j REJECT --reject-with icmp-port-unreachable
FORWARD -f -j DROP
-t mangle POSTROUTING -j TTL --ttl-inc 1
-t mangle POSTROUTING -p tcp -j ECN --ecn-tcp-remove
-t nat PREROUTING -p tcp -d $RA --dport 8080 -j DNAT --to-destination $B:80
""".strip().split("\n")

ONLY6 = """
FORWARD -p icmpv6 -m icmp6 --icmpv6-type router-advertisement -j ACCEPT
FORWARD -m ah --ahspi 1 -j ACCEPT
FORWARD -m hl --hl-gt 3 -j ACCEPT
FORWARD -m frag --fragmore -j ACCEPT
FORWARD -m eui64 -j ACCEPT
FORWARD -m hbh --hbh-len 8 -j ACCEPT
FORWARD -m dst --dst-opts 1:4 -j ACCEPT
FORWARD -m ipv6header --header hop-by-hop --soft -j ACCEPT
FORWARD -m rt --rt-type 0 -j DROP
FORWARD -m srh --srh-last-entry-eq 0 -j DROP
FORWARD -p mh -m mh --mh-type binding-update -j DROP
FORWARD -j REJECT --reject-with icmp6-adm-prohibited
-t mangle POSTROUTING -j HL --hl-inc 1
-t mangle POSTROUTING -s fd61:1::/64 -j SNPT --src-pfx fd61:1::/64 --dst-pfx fd61:7::/64
-t mangle PREROUTING -j DNPT --src-pfx fd61:7::/64 --dst-pfx fd61:1::/64
-t nat PREROUTING -p tcp -d $RA --dport 8080 -j DNAT --to-destination [$B]:80
""".strip().split("\n")

IPSETS = """hash:ip timeout 60 counters comment|hash:net skbinfo|hash:net,port|hash:net,iface|hash:net,net|hash:net,port,net|hash:ip,port|hash:ip,port,ip|hash:ip,port,net|hash:ip,mark
hash:mac|hash:ip,mac|bitmap:ip range 10.0.0.0/24|bitmap:ip,mac range 10.0.0.0/24|bitmap:port range 0-65535|list:set|hash:ip family inet6|hash:net family inet6 forceadd""".replace("\n", "|").split("|")

# -- other tools
OTHER = """
arptables-nft -A INPUT -s 10.61.1.9 -j DROP && arptables-nft -F
arptables-legacy -A INPUT -s 10.61.1.9 --opcode 1 -j DROP && arptables-legacy -A OUTPUT -j mangle --mangle-ip-s 10.61.1.1 && arptables-legacy -F
ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 9 -j DROP && ebtables-nft -A FORWARD -p ARP --arp-opcode 1 -j ACCEPT && ebtables-nft -t nat -A PREROUTING -d 02:00:00:00:00:01 -j dnat --to-destination 02:00:00:00:00:02 && ebtables-nft -F && ebtables-nft -t nat -F
ebtables-nft -A FORWARD --among-src 02:00:00:00:00:01=10.0.0.1 -j DROP && ebtables-nft -A FORWARD --limit 5/min -j mark --mark-set 1 --mark-target CONTINUE && ebtables-nft -A FORWARD --log --log-prefix x -j CONTINUE && ebtables-nft -F
ebtables-legacy -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 9 -j DROP && ebtables-legacy -A FORWARD -p IPv6 --ip6-proto udp -j DROP && ebtables-legacy -A FORWARD -p ARP --arp-opcode 1 -j ACCEPT && ebtables-legacy -F
ebtables-legacy -A FORWARD --among-src 02:00:00:00:00:01=10.0.0.1 -j DROP && ebtables-legacy -A FORWARD --limit 5/min --log --log-prefix x -j CONTINUE && ebtables-legacy -A FORWARD --nflog-group 3 -j CONTINUE && ebtables-legacy -F
ebtables-legacy -A FORWARD -p 802_1Q --vlan-id 5 -j DROP && ebtables-legacy -A FORWARD --pkttype-type multicast -j mark --mark-set 1 --mark-target CONTINUE && ebtables-legacy -F
ebtables-legacy -t nat -A PREROUTING -d 02:00:00:00:00:01 -j dnat --to-destination 02:00:00:00:00:02 && ebtables-legacy -t nat -A PREROUTING -j redirect && ebtables-legacy -t nat -A POSTROUTING -j snat --to-source 02:00:00:00:00:02 && ebtables-legacy -t nat -A PREROUTING -p ARP --arp-opcode 1 -j arpreply --arpreply-mac 02:00:00:00:00:02 && ebtables-legacy -t nat -F
ebtables-legacy -t broute -A BROUTING -p IPv4 --stp-type 1 -j DROP || ebtables-legacy -t broute -A BROUTING -p IPv4 -j DROP; ebtables-legacy -t broute -F
iptables-legacy -t security -L
conntrack -L && conntrack -L expect && conntrack -S && conntrack -C
nfct 2>/dev/null; test -e /proc/net/nf_conntrack && test -e /proc/sys/net/netfilter/nf_conntrack_acct && test -e /proc/sys/net/netfilter/nf_conntrack_timestamp
nft list hooks | grep -q hook
nft -j list ruleset
""".strip().split("\n")

# -- nft: the beginning of a table up to a chain, and rules that must load in it
DECLARED = """
counter c1 { } quota q1 { over 10 mbytes; } limit l1 { rate 10/second; } ct helper h1 { type "ftp" protocol tcp; } ct helper h2 { type "sip" protocol udp; l3proto ip; }
ct timeout t1 { protocol tcp; l3proto ip; policy = { established: 100, close: 4 }; } ct expectation e1 { protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }
synproxy y1 { mss 1460; wscale 7; timestamp sack-perm; } flowtable f { hook ingress priority 0; devices = { va, br0 }; counter; }
set s4 { type ipv4_addr; flags timeout, dynamic; size 1000; } set s6 { type ipv6_addr; flags dynamic; } set many { type ipv4_addr; size 99; flags dynamic; } set net { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8, 10.1.0.0/16, 11.0.0.1-11.0.0.9 }; }
set pair { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 }; } set range { type ipv4_addr . inet_service . ipv4_addr; flags interval; elements = { 10.0.0.0/24 . 80-90 . 10.0.0.0/8 }; }
set mac { type ether_addr; } set ifs { type ifname; flags interval; elements = { "eth*", "va" }; } set marks { typeof meta mark; counter; } set counted { type ipv4_addr; size 100; flags dynamic; counter; }
map m1 { type inet_service : ipv4_addr; elements = { 80 : 10.61.2.2 }; } map m2 { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 5 }; } map m3 { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
map v1 { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop, 10.0.0.2 : jump other }; } map cn { type inet_service : counter; elements = { 80 : "c1" }; } map qm { type ipv4_addr : quota; }
map lm { type ipv4_addr : limit; } chain other { }"""

NFT = [("table inet t {" + DECLARED + "\nchain forward { type filter hook forward priority 0; policy accept;", """
ct state established,related accept; ct state vmap { established : accept, invalid : drop }; ct status dnat,snat accept; ct direction original accept
ct mark set meta mark; meta mark set ct mark and 0xff; ct mark and 0xff == 1 accept; ct label set 5; ct label 5 accept
ct zone 5 accept; ct original zone 0 accept; ct count over 300 drop; add @many { ip saddr ct count over 3 } drop
ct original ip saddr 10.0.0.1 accept; tcp dport 80 ct reply proto-dst 80 accept; ct bytes > 100000 accept; ct original packets > 4 accept; ct avgpkt > 100 accept; ct helper "ftp" accept; ct expiration > 1m accept
ct id 1 accept; ct l3proto ipv6 accept; ct protocol tcp accept; ct event set new,destroy; ct helper set "h1"; ct helper set "h2"; ct timeout set "t1"; ct expectation set "e1"; notrack
meta mark set 0x5; meta priority set 1:5; meta nftrace set 1; meta iif va accept; meta oifname "eth*" accept; meta iifgroup 0 accept; meta iiftype ether accept; meta iifkind "veth" accept
meta skuid 1000 accept; meta skgid 0 accept; meta cgroup 1 accept; meta cpu 0 accept; meta l4proto { tcp, udp } accept; meta nfproto ipv6 accept; meta protocol ip accept; meta pkttype multicast accept; meta rtclassid 5 accept
numgen random mod 2 0 accept; meta length 100-200 accept; meta day "Monday" accept; meta hour "08:00"-"17:00" accept; meta time > "2020-01-01" accept; meta ipsec exists accept; meta sdif 0 accept; meta sdifname "x" accept
fib saddr . iif oif missing drop; fib daddr type local accept; fib daddr . mark type != unicast drop; fib saddr . mark . iif oif exists accept; fib daddr oifname "va" accept
meta mark set numgen inc mod 2; meta mark set numgen random mod 10 offset 100; meta mark set jhash ip saddr . tcp dport mod 16 seed 0xdeadbeef; meta mark set symhash mod 4 offset 7; meta mark set numgen inc mod 2 map { 0 : 5, 1 : 6 }
limit rate 10/second burst 5 packets accept; limit rate over 1 mbytes/second drop; limit name "l1" accept; quota over 100 mbytes drop; quota name "q1" drop; counter; counter name "c1"
counter name tcp dport map { 80 : "c1" }; counter name tcp dport map @cn; limit name ip saddr map { 10.0.0.1 : "l1" } accept; quota name ip saddr map { 10.0.0.1 : "q1" } drop
log prefix "x " level info flags all; log group 5 snaplen 100 queue-threshold 3 prefix "y"; queue num 3 bypass; queue flags fanout,bypass to 0-3; queue flags bypass to numgen inc mod 3
reject; reject with tcp reset; reject with icmpx admin-prohibited; meta nfproto ipv4 reject with icmp host-prohibited; meta nfproto ipv6 reject with icmpv6 policy-fail
tcp flags & (syn|ack) == syn accept; tcp flags syn / syn,rst,ack accept; tcp option maxseg size set 1200; tcp option maxseg size set rt mtu; tcp option sack-perm exists accept; reset tcp option timestamp
tcp dport { 80, 443, 8000-8100 } accept; th dport 53 accept; udp length > 100 accept; udplite dport 5 accept; sctp dport 80 accept; sctp chunk init exists accept; dccp type request drop; comp nexthdr 4 accept; esp spi 5 accept; ah spi 5 accept
ip ttl 64 accept; ip ttl set 60; ip dscp ef accept; ip dscp set cs1; ip ecn ce accept; ip length > 1000 accept; ip frag-off & 0x1fff != 0 drop; ip option lsrr exists drop; ip protocol icmp icmp type echo-request accept; ip6 hoplimit set 60; ip6 dscp set cs1
ip6 nexthdr icmpv6 icmpv6 type { nd-neighbor-solicit, echo-request } accept; exthdr frag exists accept; frag more-fragments 1 accept; rt type 0 drop; hbh nexthdr tcp accept; mh type 5 accept; icmpv6 mtu > 1280 accept; icmp id 5 accept; igmp type 0x16 accept
rt ip nexthop 10.0.0.1 accept; rt mtu > 1000 accept; rt classid 1 accept; rt ipsec exists accept; ipsec in reqid 1 accept; ipsec out spi 5 accept; ipsec in ip saddr 10.0.0.1 accept; osf name "Linux" accept; osf ttl skip version "Linux:4.20" accept
ip saddr @s4 drop; ip saddr @net accept; ip daddr . tcp dport @pair accept; ip saddr . tcp dport . ip daddr @range accept; iifname @ifs accept; ether saddr @mac accept; meta mark @marks accept; ip saddr { 1.1.1.1, 2.2.2.0/24 } accept
ip saddr . ip daddr vmap { 10.0.0.1 . 10.0.0.2 : accept }; ip saddr vmap @v1; tcp dport vmap { 22 : accept, 23 : drop }; meta mark set ip saddr map @m2; add @s4 { ip saddr timeout 10s }; update @s4 { ip saddr timeout 1m limit rate 5/second } accept
add @counted { ip saddr }; update @s6 { ip6 saddr limit rate over 5/second burst 9 packets } drop; delete @s4 { ip saddr }; add @marks { meta mark }; meter flood { ip saddr limit rate over 10/second } drop
flow add @f; ip protocol tcp flow add @f; ether type ip accept; vlan id 5 accept; @th,16,16 80 accept; @nh,64,8 64 accept; @ll,0,48 1 accept; @ih,0,8 5 accept; goto other; jump other; return; continue"""),
       ("table inet t {" + DECLARED + "\nchain input { type filter hook input priority 0;", """
socket transparent 1 accept; socket mark 5 accept; socket wildcard 0 accept; socket cgroupv2 level 1 "system.slice" accept; synproxy mss 1460 wscale 7 timestamp sack-perm; synproxy name "y1"; synproxy name ip saddr map { 10.0.0.1 : "y1" }; meta secpath exists accept
meta skuid root accept; meta iif lo accept; limit rate 5/minute log"""),
       ("table inet t {\nchain prerouting { type filter hook prerouting priority mangle;", """
meta l4proto tcp tproxy ip to 127.0.0.1:7081 meta mark set 1; meta l4proto tcp tproxy to :7081; meta nfproto ipv6 meta l4proto udp tproxy ip6 to [::1]:7081; meta pkttype set unicast; ct zone set 5; ct original zone set 7; ct zone set iif map { va : 3, br0 : 4 }"""),
       ("table inet t {" + DECLARED + "\nchain prenat { type nat hook prerouting priority dstnat;", """
dnat ip to 10.61.2.2; tcp dport 8080 dnat ip to 10.61.2.2:80; tcp dport 80 dnat ip to 10.61.2.2-10.61.2.3:80-90 random,persistent; tcp dport 8080 dnat ip6 to [fd61:2::2]:80; redirect; tcp dport 80 redirect to :7080; tcp dport 80 redirect to :7080-7090 random; dnat ip to tcp dport map @m1
meta l4proto tcp dnat ip addr . port to ip daddr . tcp dport map @m3; dnat ip to numgen inc mod 2 map { 0 : 10.61.2.2, 1 : 10.61.2.3 }; dnat ip to jhash ip saddr mod 2 map { 0 : 10.61.2.2, 1 : 10.61.2.3 }; dnat ip prefix to ip daddr map { 10.61.9.0/24 : 10.61.2.0/24 }
meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.61.2.2 . 80, 1 : 10.61.2.3 . 81 }; dnat ip6 prefix to ip6 daddr map { fd61:9::/64 : fd61:2::/64 }"""),
       ("table inet t {\nchain postnat { type nat hook postrouting priority srcnat;", """
masquerade; masquerade random; masquerade fully-random,persistent; meta l4proto tcp masquerade to :10000-20000; snat ip to 10.61.2.1; snat ip to 10.61.2.1-10.61.2.9 persistent; tcp dport 80 snat ip to 10.61.2.1:5000-6000 fully-random
snat ip6 to fd61:2::1; snat ip prefix to ip saddr map { 10.61.1.0/24 : 10.61.2.0/24 }"""),
       ("table inet t {\nchain inputnat { type nat hook input priority 100;", "snat ip to 10.61.2.1"),
       ("table inet t {\nchain route { type route hook output priority mangle;", "meta mark set 5; ip dscp set cs1"),
       ("table inet t {\nchain ingress { type filter hook ingress device va priority 0;", "ip saddr 10.0.0.9 drop; meta l4proto tcp accept; reject; log prefix \"x\"; vlan id 5 drop"),
       ("table ip t {\nchain forward { type filter hook forward priority 0;", "ip saddr 10.0.0.1 drop; dup to 10.61.2.3; reject with icmp net-unreachable; fib saddr type unicast accept; queue"),
       ("table ip t {\nchain prenat { type nat hook prerouting priority -100;", "dnat to 10.61.2.2; redirect"),
       ("table ip t {\nchain postnat { type nat hook postrouting priority 100;", "masquerade; snat to 10.61.2.1"),
       ("table ip6 t {\nchain forward { type filter hook forward priority 0;", "ip6 saddr fd61::1 drop; dup to fd61:2::3 device br0; reject with icmpv6 addr-unreachable; fib saddr . iif oif missing drop"),
       ("table ip6 t {\nchain prenat { type nat hook prerouting priority -100;", "dnat to fd61:2::2; redirect"),
       ("table ip6 t {\nchain postnat { type nat hook postrouting priority 100;", "masquerade; snat to fd61:2::1"),
       ("table bridge t {\nchain forward { type filter hook forward priority 0;", """
ether saddr 02:00:00:00:00:01 drop; ether type vlan vlan id 5 vlan pcp 1 drop; ip saddr 10.0.0.1 drop; meta ibrname "br0" accept; meta obrname "br0" accept; meta ibrpvid 1 accept; meta ibrvproto 8021q accept; ct state established accept
log prefix "x"; arp operation request accept; ip6 saddr fd61::1 accept; queue num 3 bypass; meta protocol arp accept; meta mark set 5; limit rate 5/second accept"""),
       ("table bridge t {\nchain pre { type filter hook prerouting priority -300;", "ether daddr set 02:00:00:00:00:02; reject; meta pkttype set host; notrack"),
       ("table bridge t {\nchain out { type filter hook postrouting priority 300;", "ether saddr set 02:00:00:00:00:02; counter"),
       ("table arp t {\nchain in { type filter hook input priority 0;", "arp operation request accept; arp saddr ip 10.0.0.9 drop; arp daddr ether 02:00:00:00:00:01 accept; log prefix \"x\"; limit rate 5/second accept"),
       ("table netdev t {\nchain in { type filter hook ingress device va priority 0;", """
ip saddr 10.0.0.9 drop; fwd to br0; fwd ip to 10.61.2.3 device br0; dup to br0; meta mark set 5; fib saddr type unicast accept; reject with tcp reset; log prefix "x"; vlan id 5 drop; limit rate 5/second accept; ether type arp accept; jhash ip saddr mod 2 0 accept
tcp option maxseg size set 1200; ip dscp set cs1; meter m { ip saddr limit rate over 10/second } drop; counter; quota over 5 mbytes drop; numgen inc mod 2 0 accept"""),
       ("table netdev t {\nchain in { type filter hook ingress devices = { va, br0 } priority -500; policy accept;", "counter"),
       ("table netdev t {\nchain out { type filter hook egress device va priority 0;", "ip daddr 10.0.0.9 drop; fwd to br0; dup to br0; meta mark set 5; counter")]
NFT = [(re.sub(r"\} (?=(quota|limit|ct|flowtable|set|map|chain) )", "}\n", head), [rule.strip() for rule in " ; ".join(rules.strip().split("\n")).split(";")]) for head, rules in NFT]

# -- iptables and ip6tables by traffic: name, rules ("! " a command before them, "~ " one after the look), what is tried and what must come back. "(4)": IPv4 only
ACTS = [
    ("without a rule everything passes", [], [("tcp 80", "^b $B 80 from $A "), ("udp 53", "^b 53 from $A tos 0 ttl 63"), ("tcp 80 to C", "^c ")]),
    ("DROP is silent, REJECT is not", ["FORWARD -p tcp --dport 81 -j DROP", "FORWARD -p tcp --dport 82 $RST"], [("tcp 81 wait 2", "^timeout"), ("tcp 82", "^refused"), ("tcp 80", "^b ")]),
    ("REJECT by ICMP", ["FORWARD -p udp --dport 54 -j REJECT"], [("udp 54", "ECONNREFUSED"), ("udp 53", "^b ")]),
    ("a chain of one's own, multiport, comment", ["-N pick", "FORWARD -p tcp -m multiport --dports 81,82 -m comment --comment x -j pick", "pick -p tcp $RST"],
     [("tcp 81", "^refused"), ("tcp 82", "^refused"), ("tcp 80", "^b ")]),
    ("conntrack: NEW on one port, and what belongs to it", ["FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "FORWARD -p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT",
     "FORWARD -p tcp $RST", "FORWARD -p udp -j REJECT"], [("tcp 80 hold", "^b "), ("talk still", "still"), ("tcp 81", "^refused"), ("udp 53", "ECONNREFUSED")]),
    ("state", ["FORWARD -m state --state ESTABLISHED -j ACCEPT", "FORWARD -i br0 -p tcp $RST"], [("tcp 80", "^b "), ("tcp 7080 to RA at b", "^r "), ("tcp 80 to A at b", "^refused")]),
    ("limit lets the burst pass", ["FORWARD -p tcp --syn -m limit --limit 1/hour --limit-burst 3 -j ACCEPT", "FORWARD -p tcp --syn $RST"], [("tcp 80 times 6", "^b .*refused$")]),
    ("hashlimit counts each source", ["FORWARD -p tcp --syn -m hashlimit --hashlimit-name hl --hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode srcip -j ACCEPT",
     "FORWARD -p tcp --syn $RST"], [("tcp 80 times 5", "^b .*refused$"), ("tcp 7080 to RA at b", "^r ")]),
    ("recent knows the third", ["FORWARD -p tcp --syn -m recent --name rc --update --seconds 3600 --hitcount 2 $RST", "FORWARD -p tcp --syn -m recent --name rc --set -j ACCEPT"],
     [("tcp 80 times 4", "^b .*\nb .*refused\nrefused$"), ("sh cat /proc/net/xt_recent/rc", "src=")]),
    ("set, SET", ["! ipset create act$inet hash:ip family $inet; ipset create got$inet hash:ip family $inet", "FORWARD -p tcp --dport 81 -m set --match-set act$inet src $RST",
     "FORWARD -p tcp --dport 80 -j SET --add-set got$inet src", "~ ipset destroy act$inet; ipset destroy got$inet"],
     [("tcp 81", "^b "), ("sh ipset add act$inet $A", ""), ("tcp 81", "^refused"), ("tcp 80", "^b "), ("sh ipset test got$inet $A 2>&1", "is in set"), ("sh ipset del act$inet $A", ""), ("tcp 81", "^b ")]),
    ("addrtype", ["INPUT -p tcp --dport 7080 -m addrtype --dst-type LOCAL $RST", "FORWARD -m addrtype --dst-type LOCAL -j DROP"], [("tcp 7080 to RA", "^refused"), ("tcp 80", "^b ")]),
    ("MARK, mark, and routing by it", ["! ip $v rule add fwmark 0x7 prohibit", "-t mangle PREROUTING -p tcp --dport 81 -j MARK --set-mark 0x7", "FORWARD -m mark --mark 0x8 -j DROP",
     "~ ip $v rule del fwmark 0x7 prohibit"], [("tcp 81", "^EACCES|^EHOSTUNREACH|^ENETUNREACH"), ("tcp 80", "^b ")]),
    ("CONNMARK comes back with the answer", ["-t mangle PREROUTING -i va -p tcp --dport 81 -j CONNMARK --set-mark 0x9", "-t mangle PREROUTING -i br0 -j CONNMARK --restore-mark",
     "FORWARD -i br0 -p tcp --sport 81 -m mark --mark 0x9 -j ACCEPT", "FORWARD -i br0 -p tcp --sport 81 -j DROP"], [("tcp 81", "^b ")]),
    ("owner: whose socket it is", ["OUTPUT -p tcp --dport 81 -m owner --uid-owner 1000 $RST"], [("tcp 81 at r uid 1000", "^refused"), ("tcp 81 at r", "^b ")]),
    ("tcp flags and options", ["FORWARD -p tcp --tcp-flags SYN,ACK SYN --dport 81 $RST"], [("tcp 81", "^refused"), ("tcp 80", "^b ")]),
    ("mac, iprange", ["FORWARD -p tcp --dport 81 -m mac --mac-source $MAC $RST", "FORWARD -p tcp --dport 82 -m iprange --dst-range $SPAN $RST"],
     [("tcp 81", "^refused"), ("tcp 82", "^refused"), ("tcp 82 to C", "^c ")]),
    ("string", ["FORWARD -p udp -m string --algo bm --string secret -j REJECT", "FORWARD -p udp -m string --algo kmp --string hidden -j REJECT"],
     [("udp 53 text asecret", "ECONNREFUSED"), ("udp 53 text ahidden", "ECONNREFUSED"), ("udp 53 text open", "^b ")]),
    ("time", ["FORWARD -p tcp --dport 81 -m time --datestart 2020-01-01T00:00:00 $RST", "FORWARD -p tcp --dport 82 -m time --datestop 2020-01-01T00:00:00 $RST"],
     [("tcp 81", "^refused"), ("tcp 82", "^b ")]),
    ("statistic: every second one", ["FORWARD -p tcp --syn -m statistic --mode nth --every 2 --packet 0 $RST"], [("tcp 80 times 4", "refused\nb [^\n]*\nrefused\nb|^b [^\n]*\nrefused\nb [^\n]*\nrefused")]),
    ("length, u32 (4)", ["FORWARD -p udp -m length --length 128 -j REJECT", "FORWARD -p udp -m u32 --u32 0>>22&0x3C@8=0x61626364 -j REJECT"],
     [("udp 53 text " + "l" * 100, "ECONNREFUSED"), ("udp 53 text " + "l" * 99, "^b "), ("udp 53 text abcd", "ECONNREFUSED")]),
    ("bpf", ["FORWARD -p tcp --dport 81 -m bpf --bytecode \"1,6 0 0 65535\" $RST"], [("tcp 81", "^refused"), ("tcp 80", "^b ")]),
    ("connlimit: a second one at once", ["FORWARD -p tcp --syn --dport 80 -m connlimit --connlimit-above 1 $RST"], [("tcp 80 hold", "^b "), ("tcp 80", "^refused"), ("tcp 81", "^b ")]),
    ("physdev: between ports of the bridge", ["! sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
     "FORWARD -p tcp --dport 81 -m physdev --physdev-is-bridged --physdev-in vb --physdev-out vc $RST", "~ sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0"],
     [("tcp 81 to C at b", "^refused"), ("tcp 80 to C at b", "^c "), ("tcp 81", "^b ")]),
    ("MASQUERADE", ["-t nat POSTROUTING -o br0 -j MASQUERADE"], [("tcp 80", "^b $B 80 from $R "), ("udp 53", "^b 53 from $R ")]),
    ("SNAT", ["! ip addr add $R9/$ONE dev br0 nodad", "-t nat POSTROUTING -o br0 -p tcp -j SNAT --to-source $R9", "~ ip addr del $R9/$ONE dev br0"], [("tcp 80", "^b $B 80 from $R9 ")]),
    ("DNAT, to another port too", ["-t nat PREROUTING -p tcp -d $RA --dport 8080 -j DNAT --to-destination $BP:80", "-t nat PREROUTING -p tcp --dport 81 -j DNAT --to-destination $C"],
     [("tcp 8080 to RA", "^b $B 80 from $A "), ("tcp 81", "^c $C 81 from $A ")]),
    ("DNAT of what the router itself sends", ["! ip $v route add $OTHER dev br0", "-t nat OUTPUT -p tcp -d $OTHER --dport 80 -j DNAT --to-destination $C", "~ ip $v route del $OTHER dev br0"], [("tcp 80 to B9 at r", "^c $C 80 ")]),
    ("REDIRECT", ["-t nat PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 7080"], [("tcp 80", "^r $RA 7080 from $A "), ("tcp 81", "^b ")]),
    ("NETMAP", ["-t nat PREROUTING -d $OTHER -j NETMAP --to $NETB"], [("tcp 80 to B9", "^b $B 80 from $A ")]),
    ("TPROXY, socket", ["! ip $v rule add fwmark 0x1/0x1 lookup 100; ip $v route add local default dev lo table 100", "-t mangle PREROUTING -i va -p tcp -m socket --transparent -j MARK --set-mark 1",
     "-t mangle PREROUTING -i va -p tcp --dport 80 -j TPROXY --on-port 7081 --tproxy-mark 0x1/0x1", "~ ip $v rule del fwmark 0x1/0x1 lookup 100; ip $v route flush table 100"],
     [("tcp 80", "^r $B 80 from $A "), ("tcp 80 to C", "^r $C 80 from $A "), ("tcp 81", "^b ")]),
    ("LOG", ["FORWARD -p tcp --syn --dport 81 -j LOG --log-prefix \"seen-$ipt: \"", "FORWARD -p tcp --syn --dport 81 $RST"], [("tcp 81", "^refused"), ("kernel", "seen-$ipt: IN=va OUT=br0.*DPT=81 ")]),
    ("NFQUEUE without a program, with and without a way round", ["FORWARD -p udp --dport 53 -j NFQUEUE --queue-num 9 --queue-bypass", "FORWARD -p udp --dport 54 -j NFQUEUE --queue-num 9"],
     [("udp 53", "^b "), ("udp 54 wait 2", "^timeout")]),
    ("TCPMSS", ["-t mangle FORWARD -p tcp --syn -j TCPMSS --set-mss 700"], [("tcp 80", "mss 6[0-9][0-9]$")]),
    ("DSCP, TTL or HL", ["-t mangle FORWARD -p udp --dport 53 -j DSCP --set-dscp-class EF", "-t mangle POSTROUTING -p udp --dport 54 -j TOS --set-tos 0x10/0xff"],
     [("udp 53", "tos 184"), ("udp 54", "tos 16")]),
    ("CT --notrack", ["-t raw PREROUTING -p tcp --dport 81 -j CT --notrack", "-t raw PREROUTING -p tcp --sport 81 -j CT --notrack", "FORWARD -p tcp --dport 81 -m conntrack ! --ctstate UNTRACKED $RST",
     "FORWARD -p tcp --dport 80 -m conntrack --ctstate UNTRACKED $RST"], [("tcp 81", "^b "), ("tcp 80", "^b ")]),
    ("CT zones keep connections apart", ["-t raw PREROUTING -p tcp --dport 81 -j CT --zone 7"], [("tcp 81 hold", "^b "), ("sh conntrack -L -w 7 -f $fam 2>/dev/null", "dport=81 ")]),
    ("a helper: FTP's data connection is RELATED (4)", ["-t raw PREROUTING -p tcp --dport 21 -j CT --helper ftp", "FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
     "FORWARD -p tcp --dport 21 -j ACCEPT", "FORWARD -p tcp $RST"], [("tcp 4000", "^refused"), ("tcp 21 hold", "^b "), ("talk PASV\\r\\n", "^227 "), ("tcp 4000", "^b .* 4000 "), ("tcp 81", "^refused")]),
    ("SYNPROXY", ["! sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 net.ipv4.tcp_syncookies=1", "-t raw PREROUTING -i va -p tcp --syn --dport 80 -j CT --notrack",
     "FORWARD -p tcp --dport 80 -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460", "FORWARD -m conntrack --ctstate INVALID -j DROP",
     "~ sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1"], [("tcp 80", "^b "), ("sh cat /proc/net/stat/synproxy", "[1-9a-f]")]),
    ("rpfilter: a source that lives elsewhere", ["! ip -n a $v addr add $B9/$ONE dev lo; ip $v route add $B9 dev br0", "-t raw PREROUTING -i va -m rpfilter --invert -j DROP",
     "~ ip -n a $v addr del $B9/$ONE dev lo; ip $v route del $B9 dev br0"], [("udp 53 wait 2 src $B9", "^timeout"), ("udp 53", "^b ")]),
]
