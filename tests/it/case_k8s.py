"""What K3s and Kubernetes want of a guest, each done by hand as they do it: limits, sysctls, cgroups of pods, flannel's networks, kube-proxy's modes, pods
through the container runtime's socket. Started by heavy.sh."""
import cri
from case_services import busybox, fetch, forward, full, image, send
from client import wait_for
from debian import guest
from world import limit, must, same

TAR = "kubernetes.tar.gz"
BUSY = "/usr/local/bin/busybox"  # httpd, nc and ping for network namespaces


def node(env):
    d = guest(env, TAR, 1024)
    full(d)
    if d.exec("test -x " + BUSY)[0]:
        send(env, d, busybox(), "/tmp/busybox")
        same(d.root("install -m 755 /tmp/busybox " + BUSY)[0], 0)
    return d


def does(d, script, limit_s=60):
    """What a script says of which every command must succeed."""
    code, out, err = d.root("set -eu\n" + script, limit_s=limit_s)
    return must(code == 0, code, out[-1500:], err[-1500:]) or out


# Kubelet's (--protect-kernel-defaults asks for the first six), kube-proxy's, flannel's.
SYSCTLS = """vm.overcommit_memory=1 vm.panic_on_oom=0 kernel.panic=10 kernel.panic_on_oops=1 kernel.keys.root_maxkeys=1000000 kernel.keys.root_maxbytes=25000000
net.netfilter.nf_conntrack_max=131072 net.netfilter.nf_conntrack_tcp_timeout_established=86400 net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600
net.netfilter.nf_conntrack_tcp_be_liberal=0 net.ipv4.conf.all.route_localnet=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.vs.conntrack=1
net.ipv4.vs.conn_reuse_mode=1 net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1 net.ipv4.conf.all.arp_ignore=1
net.ipv4.conf.all.arp_announce=2 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 fs.inotify.max_user_instances=8192
fs.inotify.max_user_watches=524288"""


@limit(700)
def case_published(env):
    """what K3s publishes as its requirements holds in a Debian guest as it is; its service's limits, kubelet's and kube-proxy's sysctls can be set"""
    d = node(env)
    out = does(d, """
hostname | grep -Eqx '[a-z0-9]([-a-z0-9]*[a-z0-9])?' && tr -d '\\n' </etc/machine-id | grep -Eqx '[0-9a-f]{32}'
ip route show default | grep -q via                                 # K3s takes the node's address from there
test $(wc -l </proc/swaps) = 1                                      # kubelet refuses swap
test "$(findmnt -no PROPAGATION /)" = shared                        # mounts of pods with mountPropagation, and of CSI
test "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs
for c in cpuset cpu io memory hugetlb pids; do grep -qw $c /sys/fs/cgroup/cgroup.controllers; done
dd if=/dev/kmsg bs=8192 count=1 iflag=nonblock 2>/dev/null | grep -q .   # kubelet reads who was killed for memory
test $(cat /proc/sys/fs/inotify/max_user_instances) -ge 128
test $(cat /proc/sys/fs/inotify/max_user_watches) -ge 4096
test $(cat /proc/sys/kernel/pid_max) -ge 32768 && test $(cat /proc/sys/fs/file-max) -ge 65536
grep -qw overlay /proc/filesystems && test -c /dev/net/tun && test -d /sys/fs/bpf
for m in overlay br_netfilter nf_conntrack ip_tables iptable_nat iptable_filter vxlan; do ! modprobe $m 2>/dev/null; done   # built in: fails, and K3s only warns
test ! -e /lib/modules/$(uname -r)/modules.dep
test -e /proc/sys/net/bridge/bridge-nf-call-iptables
zcat /proc/config.gz | grep -q CONFIG_VXLAN=y                       # what k3s check-config reads
echo 'cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cgroup.controllers; ulimit -n; ulimit -u' >/run/like-k3s.sh
cat >/run/systemd/system/like-k3s.service <<U
[Service]
Type=oneshot
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/bin/bash /run/like-k3s.sh
StandardOutput=truncate:/run/like-k3s
Delegate=yes
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
U
systemctl daemon-reload && systemctl start like-k3s
cat /run/like-k3s
""", limit_s=120)
    controllers, files, tasks = out.splitlines()
    must({"cpuset", "cpu", "io", "memory", "pids"} <= set(controllers.split()), "delegated:", controllers)
    must((files == "unlimited" or int(files) >= 1 << 20) and tasks == "unlimited", "limits:", files, tasks)
    wrong = does(d, "for s in %s; do sysctl -qw $s && test $(sysctl -n ${s%%%%=*}) = ${s#*=} || echo wrong: $s; done; echo 65536 >/sys/module/nf_conntrack/parameters/hashsize"
                 % " ".join(SYSCTLS.split()))
    same(wrong, "")


@limit(300)
def case_kubepods(env):
    """cgroups of pods: kubelet's tree by cgroupfs and slices by systemd, with cpu, memory, pids, io, hugetlb; what exceeds memory is killed as a whole"""
    d = node(env)
    out = does(d, """
cd /sys/fs/cgroup
for c in kubepods kubepods/burstable kubepods/burstable/pod1; do
	mkdir -p $c
	echo '+cpuset +cpu +io +memory +hugetlb +pids' >${c%/*}/cgroup.subtree_control 2>/dev/null || echo '+cpuset +cpu +io +memory +hugetlb +pids' >cgroup.subtree_control
done
p=kubepods/burstable/pod1
echo '+cpuset +cpu +io +memory +hugetlb +pids' >$p/cgroup.subtree_control
mkdir -p $p/c
echo 24M >$p/memory.max; echo 0 >$p/memory.swap.max; echo 1 >$p/memory.oom.group; echo '50000 100000' >$p/cpu.max; echo 79 >$p/cpu.weight
echo 64 >$p/pids.max; echo 0 >$p/hugetlb.2MB.max; echo 0 >$p/cpuset.cpus
echo "$(cat /sys/block/vda/dev) wbps=1048576" >$p/io.max
cat $p/memory.max $p/cpu.max $p/cpu.weight $p/pids.max $p/hugetlb.2MB.max $p/cpuset.cpus.effective | tr '\\n' ' '; cat $p/io.max
sh -c 'echo $$ >'$p'/c/cgroup.procs; sleep 300 & head -c 60m /dev/zero | tail >/dev/null; echo survived' >/run/oom 2>&1 || true
! grep survived /run/oom
grep -h oom_group_kill $p/memory.events
n=0; while grep -q 'populated 1' $p/cgroup.events && test $n -lt 100; do n=$((n + 1)); sleep 0.1; done
rmdir $p/c $p kubepods/burstable kubepods
dmesg | grep -c 'Killed process'
""", limit_s=100).splitlines()
    same(out[0].split(" ", 7)[:7], ["25165824", "50000", "100000", "79", "64", "0", "0"], out)
    must("wbps=1048576" in out[0] and out[1] == "oom_group_kill 1" and int(out[2]) > 0, *out)
    out = does(d, """
systemd-run -q --unit pod2-c --slice kubepods-besteffort-pod2.slice -p Delegate=yes -p MemoryMax=32M -p CPUQuota=50% -p TasksMax=64 -p CPUWeight=79 sleep 300
c=/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2.slice/pod2-c.service
cat $c/memory.max $c/cpu.max $c/pids.max $c/cpu.weight
systemctl stop pod2-c
""")
    same(out.split(), ["33554432", "50000", "100000", "64", "79"])


# Two nodes as network namespaces, an underlay between them, on each a bridge cni0 and a pod behind it.
NODES = """
busy=%s
sysctl -qw net.core.fb_tunnels_only_for_init_net=2   # or each namespace starts with nine tunnels, and late
for n in n1 n2 p1 p2; do ip netns del $n 2>/dev/null || true; done
for i in 1 2; do
	ip netns add n$i; ip netns add p$i
	ip -n n$i link set lo up
	ip -n n$i link add cni0 mtu 1370 type bridge; ip -n n$i link set cni0 up; ip -n n$i addr add 10.42.$i.1/24 dev cni0
	ip -n n$i link add veth0 mtu 1370 type veth peer name eth0 netns p$i; ip -n n$i link set veth0 master cni0 up
	ip -n p$i link set eth0 up; ip -n p$i addr add 10.42.$i.2/24 dev eth0; ip -n p$i route add default via 10.42.$i.1
	ip netns exec n$i sysctl -qw net.ipv4.ip_forward=1
done
ip -n n1 link add eth0 type veth peer name eth0 netns n2
for i in 1 2; do ip -n n$i link set eth0 up; ip -n n$i addr add 192.168.77.$i/24 dev eth0; done
""" % BUSY
VXLAN = NODES + """
for i in 1 2; do
	ip -n n$i link add flannel.1 address 02:00:00:00:00:0$i type vxlan id 1 dev eth0 local 192.168.77.$i dstport 8472 nolearning
	ip -n n$i addr add 10.42.$i.0/32 dev flannel.1; ip -n n$i link set flannel.1 up
	o=$((3 - i))
	ip -n n$i route add 10.42.$o.0/24 via 10.42.$o.0 dev flannel.1 onlink
	ip -n n$i neigh replace 10.42.$o.0 lladdr 02:00:00:00:00:0$o dev flannel.1 nud permanent
	bridge -n n$i fdb append 02:00:00:00:00:0$o dev flannel.1 dst 192.168.77.$o
done
"""
WIREGUARD = NODES + """
umask 077
for i in 1 2; do wg genkey >/run/wg$i; done
for i in 1 2; do
	o=$((3 - i))
	ip -n n$i link add flannel-wg mtu 1420 type wireguard
	ip netns exec n$i wg set flannel-wg private-key /run/wg$i listen-port 51820 peer $(wg pubkey </run/wg$o) allowed-ips 10.42.$o.0/24 endpoint 192.168.77.$o:51820
	ip -n n$i addr add 10.42.$i.0/32 dev flannel-wg; ip -n n$i link set flannel-wg up
	ip -n n$i route add 10.42.$o.0/24 dev flannel-wg
done
rm /run/wg1 /run/wg2
"""
HOSTGW = NODES + "for i in 1 2; do o=$((3 - i)); ip -n n$i route add 10.42.$o.0/24 via 192.168.77.$o dev eth0; done\n"
ACROSS = """
ip netns exec p1 $busy ping -c 3 -W 20 10.42.2.2 | grep -q ' 0% packet loss'
ip netns exec p1 $busy ping -c 1 -W 20 -s 1300 10.42.2.2 >/dev/null
test $(ip netns exec n1 cat /sys/class/net/$link/statistics/tx_packets) -ge 4
for n in n1 n2 p1 p2; do ip netns del $n; done
"""


@limit(300)
def case_flannel(env):
    """flannel's backends by hand: a pod of one node reaches a pod of another over VXLAN (port 8472, no learning), WireGuard and host-gw"""
    d = node(env)
    for link, made in (("flannel.1", VXLAN), ("flannel-wg", WIREGUARD), ("eth0", HOSTGW)):
        does(d, "link=%s\n" % link + made + ACROSS, limit_s=100)


# One node in a namespace: a bridge, two pods that serve on 8080, and what kube-proxy needs set. Services: 10.43.0.10 both pods, .11 the same with affinity, .12 none.
SERVED = """
busy=%s
sysctl -qw net.core.fb_tunnels_only_for_init_net=2
for n in node p1 p2; do ip netns pids $n 2>/dev/null | xargs -r kill || true; ip netns del $n 2>/dev/null || true; done
ip netns add node
ip -n node link set lo up
ip -n node link add cni0 type bridge; ip -n node link set cni0 up; ip -n node addr add 10.42.7.1/24 dev cni0
ip -n node link add up0 type dummy; ip -n node link set up0 up; ip -n node addr add 192.168.78.1/24 dev up0; ip -n node route add default via 192.168.78.2
for i in 1 2; do
	ip netns add p$i
	ip -n p$i link set lo up
	ip -n node link add v$i type veth peer name eth0 netns p$i; ip -n node link set v$i master cni0 up; bridge -n node link set dev v$i hairpin on
	ip -n p$i link set eth0 up; ip -n p$i addr add 10.42.7.1$i/24 dev eth0; ip -n p$i route add default via 10.42.7.1
	mkdir -p /run/k8s/p$i; echo pod$i >/run/k8s/p$i/index.html
	ip netns exec p$i $busy httpd -p 8080 -h /run/k8s/p$i
done
for s in net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1 net.bridge.bridge-nf-call-iptables=1 net.ipv4.vs.conntrack=1; do ip netns exec node sysctl -qw $s; done
""" % BUSY
IPTABLES = """
ip netns exec node $ipt-restore --noflush <<R
*filter
:KUBE-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -d 10.43.0.12/32 -p tcp -m comment --comment "default/none has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-EXT-WEB - [0:0]
:KUBE-SEP-WEB1 - [0:0]
:KUBE-SEP-WEB2 - [0:0]
:KUBE-SVC-STICKY - [0:0]
:KUBE-SEP-STICKY1 - [0:0]
:KUBE-SEP-STICKY2 - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d 10.43.0.10/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -d 10.43.0.11/32 -p tcp -m comment --comment "default/sticky cluster IP" -m tcp --dport 80 -j KUBE-SVC-STICKY
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment default/web -m tcp --dport 30080 -j KUBE-EXT-WEB
-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SVC-WEB
-A KUBE-SVC-WEB ! -s 10.42.0.0/16 -d 10.43.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-WEB1
-A KUBE-SVC-WEB -j KUBE-SEP-WEB2
-A KUBE-SEP-WEB1 -s 10.42.7.11/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-WEB1 -p tcp -m tcp -j DNAT --to-destination 10.42.7.11:8080
-A KUBE-SEP-WEB2 -s 10.42.7.12/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-WEB2 -p tcp -m tcp -j DNAT --to-destination 10.42.7.12:8080
-A KUBE-SVC-STICKY -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-STICKY1 --mask 255.255.255.255 --rsource -j KUBE-SEP-STICKY1
-A KUBE-SVC-STICKY -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-STICKY2 --mask 255.255.255.255 --rsource -j KUBE-SEP-STICKY2
-A KUBE-SVC-STICKY -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-STICKY1
-A KUBE-SVC-STICKY -j KUBE-SEP-STICKY2
-A KUBE-SEP-STICKY1 -p tcp -m recent --set --name KUBE-SEP-STICKY1 --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.42.7.11:8080
-A KUBE-SEP-STICKY2 -p tcp -m recent --set --name KUBE-SEP-STICKY2 --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.42.7.12:8080
COMMIT
R
ip netns exec node $ipt-save -t nat | grep -q 'statistic --mode random --probability 0.5'
"""
NFTABLES = """
ip netns exec node nft -f - <<R
table ip kube-proxy {
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.43.0.10 . tcp . 80 : goto service-web, 10.43.0.11 . tcp . 80 : goto service-sticky } }
	map service-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 30080 : goto external-web } }
	map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.43.0.12 . tcp . 80 : goto reject-chain } }
	set sticky-1 { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	set sticky-2 { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
	chain reject-chain { reject; }
	chain endpoint-1 { ip saddr 10.42.7.11 jump mark-for-masquerade; meta l4proto tcp dnat to 10.42.7.11:8080; }
	chain endpoint-2 { ip saddr 10.42.7.12 jump mark-for-masquerade; meta l4proto tcp dnat to 10.42.7.12:8080; }
	chain sticky-endpoint-1 { update @sticky-1 { ip saddr } meta l4proto tcp dnat to 10.42.7.11:8080; }
	chain sticky-endpoint-2 { update @sticky-2 { ip saddr } meta l4proto tcp dnat to 10.42.7.12:8080; }
	chain service-web { ip daddr 10.43.0.10 tcp dport 80 ip saddr != 10.42.0.0/16 jump mark-for-masquerade; numgen random mod 2 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2 }; }
	chain service-sticky { ip saddr @sticky-1 goto sticky-endpoint-1; ip saddr @sticky-2 goto sticky-endpoint-2; numgen random mod 2 vmap { 0 : goto sticky-endpoint-1, 1 : goto sticky-endpoint-2 }; }
	chain external-web { jump mark-for-masquerade; goto service-web; }
	chain services { ip daddr . meta l4proto . th dport vmap @service-ips; fib daddr type local meta l4proto . th dport vmap @service-nodeports; }
	chain prerouting { type nat hook prerouting priority dstnat; jump services; }
	chain output { type nat hook output priority -100; jump services; }
	chain filter-output { type filter hook output priority -110; ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain postrouting { type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade fully-random; }
}
R
"""
IPVS = """
for s in arp_ignore=1 arp_announce=2; do ip netns exec node sysctl -qw net.ipv4.conf.all.$s; done
ip -n node link add kube-ipvs0 type dummy
for a in 10 11; do ip -n node addr add 10.43.0.$a/32 dev kube-ipvs0; done
in="ip netns exec node"
$in ipvsadm -A -t 10.43.0.10:80 -s rr
$in ipvsadm -A -t 10.43.0.11:80 -s rr -p 10800
$in ipvsadm -A -t 192.168.78.1:30080 -s rr
for v in 10.43.0.10:80 10.43.0.11:80 192.168.78.1:30080; do for p in 1 2; do $in ipvsadm -a -t $v -r 10.42.7.1$p:8080 -m; done; done
$in ipset create KUBE-CLUSTER-IP hash:ip,port
for a in 10 11; do $in ipset add KUBE-CLUSTER-IP 10.43.0.$a,tcp:80; done
$in ipset create KUBE-LOOP-BACK hash:ip,port,ip
for p in 1 2; do $in ipset add KUBE-LOOP-BACK 10.42.7.1$p,tcp:8080,10.42.7.1$p; done
$in iptables-restore --noflush <<R
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES ! -s 10.42.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -p tcp -m tcp --dport 30080 -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
-A OUTPUT -d 10.43.0.12/32 -p tcp -m tcp --dport 80 -j REJECT
COMMIT
R
"""
# Says "FROM ADDRESS: pods that answered". p1's way to p2 crosses the bridge only: without br_netfilter the answer would come from the wrong address.
ASKED = """
ask() { # FROM ADDRESS PORT PODS TIMES: until that many different pods answered
	n=0
	: >/run/k8s/got
	while [ $n -lt $5 ] && [ $(sort -u /run/k8s/got | wc -l) -lt $4 ]; do
		printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | ip netns exec $1 $busy nc -w 30 $2 $3 2>/dev/null | grep -o 'pod[12]$' >>/run/k8s/got || echo none >>/run/k8s/got
		n=$((n + 1))
	done
	sort -u /run/k8s/got | tr '\\n' ' '
	echo
}
ask node 10.42.7.11 8080 1 1
ask node 10.42.7.12 8080 1 1
ask node 10.43.0.10 80 2 40
ask p1 10.43.0.10 80 2 40
ask node 192.168.78.1 30080 2 40
ask node 10.43.0.11 80 2 6
ask node 10.43.0.12 80 1 1
ip netns exec node conntrack -L -p tcp -d 10.43.0.10 2>/dev/null | grep -o 'src=10.42.7.1[12] .*dport=' | sed 's/ .*//' | sort -u | wc -l
"""


@limit(500)
def case_kube_proxy(env):
    """kube-proxy's rules in each of its modes (iptables-legacy and -nft, nftables, IPVS with ipset): a ClusterIP and a NodePort are balanced, from the node and from
    a pod behind the same bridge; affinity holds, a service without endpoints is refused"""
    d = node(env)
    for mode, rules in (("iptables-legacy", "ipt=iptables-legacy\n" + IPTABLES), ("iptables-nft", "ipt=iptables-nft\n" + IPTABLES), ("nftables", NFTABLES), ("ipvs", IPVS)):
        out = does(d, SERVED + rules + ASKED, limit_s=100).splitlines()
        same(out[:5], ["pod1 ", "pod2 "] + ["pod1 pod2 "] * 3, mode)
        must(out[5] in ("pod1 ", "pod2 "), mode, "affinity:", out[5])
        same(out[6:], ["none ", "2"], mode)
    does(d, "for n in node p1 p2; do ip netns pids $n | xargs -r kill; ip netns del $n; done")


NET = """{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni9", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.9.0/24"}]],
  "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}"""
RUNTIME = """version = 2
root = "/var/lib/k8s/containerd"
state = "/run/k8s/containerd"
[grpc]
  address = "/run/k8s/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local.example/pause:1"
  stream_server_port = "10010"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/var/lib/k8s/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = true
"""


def runtime(env, d):
    """A containerd of its own, as K3s starts one: root, socket and CNI of its own, the images from files."""
    for name, data in (("config.toml", RUNTIME.encode()), ("pods.conflist", NET.encode()), ("pause.tar", image("pause", ["/bin/busybox", "sleep", "1000000"])), ("web.tar", image("web"))):
        send(env, d, data, "/tmp/" + name)
    does(d, """
mkdir -p /var/lib/k8s/net.d && cp /tmp/pods.conflist /var/lib/k8s/net.d/10-pods.conflist
systemctl is-active -q k8s-containerd || systemd-run -q --unit k8s-containerd -p Delegate=yes -p KillMode=process -p LimitNOFILE=infinity containerd -c /tmp/config.toml
""")
    d.answers("ctr -a /run/k8s/containerd/containerd.sock version", "Server:", limit_s=100)
    does(d, "for i in pause web; do ctr -a /run/k8s/containerd/containerd.sock -n k8s.io images import /tmp/$i.tar; done", limit_s=100)


@limit(500)
def case_pod(env):
    """a pod by way of the runtime's socket (gRPC through vm forward), as kubelet starts one: overlayfs, CNI bridge and portmap, slices, limits, mounts that propagate"""
    d = node(env)
    runtime(env, d)
    with forward(env, d, "/run/k8s/containerd/containerd.sock") as port:
        def call(method, message):
            try:
                return cri.call(port, method, message, 60 * env.patience)
            except cri.Refused as e:
                raise AssertionError(e, d.root("journalctl -u k8s-containerd --no-pager | grep level=error | tail -n 3")[1]) from e
        same(call("RuntimeService/Version", [])[2], [b"containerd"])

        def ready():
            status = cri.decode(call("RuntimeService/Status", [])[1][0])
            return {cri.decode(c)[1][0]: cri.decode(c).get(2) for c in status[1]} == {b"RuntimeReady": [1], b"NetworkReady": [1]}
        must(wait_for(ready, 30 * env.patience, 0.5), "the runtime and its network are ready")
        pod = [(1, [(1, "web"), (2, "7"), (3, "default")]), (2, "web-0"), (3, "/tmp"), (5, [(2, 80), (3, 30090)]),
               (8, [(1, "kubepods-burstable-pod7.slice"), (2, [(6, 1)]), (3, [(1, "net.ipv4.ip_unprivileged_port_start"), (2, "0")])])]
        sandbox = call("RuntimeService/RunPodSandbox", [(1, pod)])[1][0].decode()
        try:
            status = cri.decode(call("RuntimeService/PodSandboxStatus", [(1, sandbox)])[1][0])
            ip = cri.decode(status[5][0])[1][0].decode()
            must(ip.startswith("10.42.9."), ip)
            does(d, "mkdir -p /var/lib/k8s/vol; mountpoint -q /var/lib/k8s/vol || mount -t tmpfs --make-shared vol /var/lib/k8s/vol")
            config = [(1, [(1, "web")]), (2, [(1, "local.example/web:1")]), (3, "/bin/busybox"), *[(4, a) for a in ("httpd", "-f", "-p", "80", "-h", "/www")], (11, "web.log"),
                      (7, [(1, "/vol"), (2, "/var/lib/k8s/vol"), (5, 2)]),
                      (15, [(1, [(1, 100000), (2, 50000), (3, 512), (4, 64 << 20), (5, 900)]), (2, [(2, 1)])])]  # privileged, so that a mount inside may come out
            box = call("RuntimeService/CreateContainer", [(1, sandbox), (2, config), (3, pod)])[1][0].decode()
            call("RuntimeService/StartContainer", [(1, box)])

            def inside(script):
                answer = call("RuntimeService/ExecSync", [(1, box), (2, "/bin/sh"), (2, "-c"), (2, script), (3, 60)])
                return answer.get(3, [0])[0], answer.get(1, [b""])[0].decode(), answer.get(2, [b""])[0].decode()
            code, out, err = inside("busybox hostname; busybox grep ' / ' /proc/mounts | busybox cut -d' ' -f3; busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start; "
                                    "busybox mkdir -p /vol/in; busybox mount -t tmpfs in /vol/in; exit 4")
            same((code, out), (4, "web-0\noverlay\n0\n"), err)
            out = does(d, """
c=/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice/cri-containerd-%s.scope
cat $c/memory.max $c/cpu.max
cat /proc/$(head -1 $c/cgroup.procs)/oom_score_adj
findmnt -no FSTYPE /var/lib/k8s/vol/in                   # mounted in the container, seen here
umount /var/lib/k8s/vol/in
printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | %s nc -w 60 %s 80 | tail -n 1
""" % (box, BUSY, ip))
            same(out, "67108864\n50000 100000\n900\ntmpfs\nfrom a container\n")
            with forward(env, d, 30090) as port_of_pod:
                must(wait_for(lambda: b"from a container" in fetch(port_of_pod, 20), 60 * env.patience, 0.5), "the pod's hostPort")
        finally:
            call("RuntimeService/StopPodSandbox", [(1, sandbox)])
            call("RuntimeService/RemovePodSandbox", [(1, sandbox)])
    out = does(d, "systemctl stop k8s-containerd; umount /var/lib/k8s/vol; ip link del cni9; ls /run/netns 2>/dev/null | wc -l; iptables-save -t nat | grep -c 'dport 30090' || true")
    same(out, "0\n0\n", "what a removed pod leaves")
    d.settled()
