#!/bin/bash
# Stands in for K3s where its file cannot be had, to try case_k3s.py: MICA_K3S=tests/it/k3s_standin.sh tests/it/heavy.sh … k3s. It checks what it is called with and what
# stands beside it as K3s's documentation has it, starts nothing of Kubernetes, and answers what the cases ask. That it passes says nothing about K3s.
# Its "pods" are two web servers on the node; its API is openssl's server with files.
set -eu
dir=/run/k3s-standin
no() { echo "k3s stand-in: $*" >&2; exit 1; }
pods() { pgrep -f '^/bin/busybox httpd -f -p' || true; }
server() {
	[ $# = 0 ] || no "server takes its options from /etc/rancher/k3s/config.yaml here, not: $*"
	[ -n "${NOTIFY_SOCKET:-}" ] || no "Type=notify"
	[ "$(ulimit -n)" -ge 1048576 ] && [ "$(ulimit -u)" = unlimited ] || no "limits: $(ulimit -n) files, $(ulimit -u) processes"
	grep -qw memory "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cgroup.controllers" || no "Delegate=yes"
	[ -n "$(ip route show default)" ] || no "a default route"
	while IFS=': ' read -r key value; do
		case $key=$value in
		'write-kubeconfig-mode="0644"' | flannel-backend=vxlan | snapshotter=overlayfs | pause-image=*/*:*) ;;
		'disable='*) for c in $(tr -d '[],' <<<"$value"); do case $c in traefik | servicelb | metrics-server | local-storage | coredns) ;; *) no "there is no $c to disable" ;; esac; done ;;
		*) no "config.yaml: $key: $value" ;;
		esac
	done </etc/rancher/k3s/config.yaml
	for i in pause web; do tar tf /var/lib/rancher/k3s/agent/images/$i.tar | grep -qx manifest.json || no "the archive of image $i"; done
	mkdir -p $dir/api/v1 && cd $dir
	[ -e ca.pem ] || {
		openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout ca.key -out ca.pem -days 2 2>/dev/null
		for n in server client; do
			openssl req -newkey rsa:2048 -nodes -subj /CN=$n -keyout $n.key -out $n.csr 2>/dev/null
			openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile <(echo subjectAltName=IP:127.0.0.1) -out $n.pem -days 2 2>/dev/null
		done
	}
	printf 'HTTP/1.0 200 ok\r\n\r\n{"items":[{"metadata":{"name":"%s"}}]}' "$(hostname)" >api/v1/nodes
	cat >/etc/rancher/k3s/k3s.yaml <<-Y
		clusters: [{ name: default, cluster: {
		    certificate-authority-data: $(base64 -w0 ca.pem)
		    server: https://127.0.0.1:6443
		users:
		    client-certificate-data: $(base64 -w0 client.pem)
		    client-key-data: $(base64 -w0 client.key)
	Y
	chmod 644 /etc/rancher/k3s/k3s.yaml
	ip link show flannel.1 >/dev/null 2>&1 || ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 nolearning
	mkdir -p /sys/fs/cgroup/kubepods/burstable
	[ ! -e /var/lib/rancher/web ] || start_pods
	systemd-notify --ready
	exec openssl s_server -quiet -accept 6443 -cert server.pem -key server.key -CAfile ca.pem -Verify 1 -verify_return_error -HTTP
}
start_pods() {
	[ -z "$(pods)" ] || return 0
	tar xOf /var/lib/rancher/k3s/agent/images/web.tar --wildcards '*/layer.tar' | tar x -C $dir
	mkdir -p /www && cp $dir/www/index.html /www/ && cp $dir/bin/busybox /bin/
	ip addr add 10.43.0.80/32 dev lo 2>/dev/null || true
	for at in 10.43.0.80:80 127.0.0.1:30080; do setsid /bin/busybox httpd -f -p $at -h /www >/dev/null 2>&1 </dev/null & done
}
case "${1:-}" in
--version) echo "a stand-in for K3s, which it is not" ;;
check-config) zcat /proc/config.gz | grep -qx CONFIG_VXLAN=y || no "kernel"; echo "STATUS: pass" ;;
server) shift; server "$@" ;;
kubectl)
	shift
	[ -e $dir/api/v1/nodes ] || no "no server"
	case "$*" in
	'get nodes --no-headers') echo "$(hostname) Ready control-plane 1m v0" ;;
	'apply -f /tmp/web.yaml') grep -q 'clusterIP: 10.43.0.80' /tmp/web.yaml && touch /var/lib/rancher/web && start_pods ;;
	'rollout status deployment/web --timeout='*s) ;;
	'get pods -l app=web -o jsonpath={.items[*].status.phase}') echo -n "Running Running" ;;
	'exec deployment/web -- '*) shift 3 && "$@" ;;
	*) no "kubectl $*" ;;
	esac ;;
*) no "there is no $1" ;;
esac
