"""K3s itself, as rootfs/RECIPES.md has it: its one file copied into a Debian guest, a unit, images from files, kubectl in the guest and the API from the host through
`mica vm forward`. heavy.sh brings the file (MICA_K3S=FILE) and, when there is one, its archive of images (MICA_K3S_IMAGES=FILE: then CoreDNS runs, too)."""
import base64
import glob
import os
import re
import subprocess

from case_services import fetch, forward, full, image, send
from client import wait_for
from debian import HERE, guest
from world import Skip, limit, must, same

TAR = "k3s.tar.gz"
FILE = os.path.join(HERE, "k3s")
CONFIG = """write-kubeconfig-mode: "0644"
flannel-backend: vxlan
snapshotter: overlayfs
pause-image: local.example/pause:1
disable: [%s]
"""
UNIT = """[Unit]
Description=K3s
After=network-online.target
Wants=network-online.target
[Service]
Type=notify
ExecStart=/usr/local/bin/k3s server
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
"""
WEB = """apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: local.example/web:1
        imagePullPolicy: Never
        command: [/bin/busybox, httpd, -f, -p, "80", -h, /www]
        resources: { limits: { memory: 32Mi, cpu: 200m } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: NodePort, clusterIP: 10.43.0.80, selector: { app: web }, ports: [{ port: 80, nodePort: 30080 }] }
"""


def node(env):
    if not os.path.exists(FILE):
        raise Skip("no k3s beside the suite (MICA_K3S=FILE tests/it/heavy.sh brings it)")
    d = guest(env, TAR, 2048)
    full(d)
    return d


def images():
    return glob.glob(os.path.join(HERE, "k3s-airgap-images*"))


@limit(900)
def case_start(env):
    """K3s starts from its one file and images from files, and says that it is ready; its own check-config passes"""
    d = node(env)
    done = d.cli("vm", "cp", "--uid", "0", "--permissions", "755", FILE, d.vm + ":/usr/local/bin/k3s", limit_s=100)
    same(done.returncode, 0, done.stderr)
    print("# " + "; ".join(d.root("k3s --version", limit_s=60)[1].splitlines()))
    same(d.root("mkdir -p /var/lib/rancher/k3s/agent/images /etc/rancher/k3s")[0], 0)
    for path in images():
        done = d.cli("vm", "cp", "--uid", "0", path, "%s:/var/lib/rancher/k3s/agent/images/%s" % (d.vm, os.path.basename(path)), limit_s=200)
        same(done.returncode, 0, done.stderr)
    off = ["traefik", "servicelb", "metrics-server", "local-storage"] + ["coredns"] * (not images())
    for path, data in (("/tmp/pause.tar", image("pause", ["/bin/busybox", "sleep", "1000000"])), ("/tmp/web.tar", image("web")), ("/tmp/config.yaml", (CONFIG % ", ".join(off)).encode()),
                       ("/tmp/k3s.service", UNIT.encode()), ("/tmp/web.yaml", WEB.encode())):
        send(env, d, data, path)
    code, out, err = d.root("cd /tmp && mv pause.tar web.tar /var/lib/rancher/k3s/agent/images/ && mv config.yaml /etc/rancher/k3s/ && mv k3s.service /etc/systemd/system/ && "
                            "systemctl daemon-reload && k3s check-config 2>&1 | tail -60; systemctl enable --now k3s", limit_s=600)
    must(code == 0 and re.search(r"STATUS\S*: .*pass", out), code, out, err, d.root("journalctl -u k3s --no-pager -n 30")[1])
    d.answers("k3s kubectl get nodes --no-headers", " Ready ", limit_s=200)
    d.settled()


@limit(600)
def case_service(env):
    """two pods become Running; their service answers at its ClusterIP and, through vm forward, at its NodePort; flannel's VXLAN and kube-proxy's rules are there"""
    d = node(env)
    code, out, err = d.root("k3s kubectl apply -f /tmp/web.yaml && k3s kubectl rollout status deployment/web --timeout=%ds" % (100 * env.patience), limit_s=120)
    must(code == 0, code, out, err, d.root("k3s kubectl describe pods | tail -40")[1])
    same(d.root("k3s kubectl get pods -l app=web -o 'jsonpath={.items[*].status.phase}'")[1], "Running Running")
    d.answers("k3s kubectl exec deployment/web -- /bin/sh -c 'printf \"GET /index.html HTTP/1.0\\r\\n\\r\\n\" | /bin/busybox nc -w 30 10.43.0.80 80'", "from a container")
    with forward(env, d, 30080) as port:
        must(wait_for(lambda: b"from a container" in fetch(port, 20), 60 * env.patience, 0.5), "the NodePort")
    code, out, err = d.root("ip -d link show flannel.1 && ls -d /sys/fs/cgroup/kubepods*/*burstable*")
    must(code == 0 and "dstport 8472" in out, out, err)
    if images():
        d.answers("k3s kubectl exec deployment/web -- /bin/busybox nslookup web.default.svc.cluster.local", "10.43.0.80", limit_s=150)


def secret(config, name, folder):
    """A file of what the kubeconfig holds under that name."""
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(base64.b64decode(re.search(r"%s-data: (\S+)" % name, config).group(1)))
    return path


@limit(200)
def case_from_the_host(env):
    """with the kubeconfig of the guest and vm forward the host reaches the API; without its certificate it may do nothing"""
    d = node(env)
    folder = env.folder("k3s")
    done = d.cli("vm", "cp", d.vm + ":/etc/rancher/k3s/k3s.yaml", folder + "/k3s.yaml")
    same(done.returncode, 0, done.stderr)
    with open(folder + "/k3s.yaml") as f:
        config = f.read()
    must("server: https://127.0.0.1:6443" in config, "the kubeconfig's address")
    keys = ["--cert", secret(config, "client-certificate", folder), "--key", secret(config, "client-key", folder)]
    with forward(env, d, 6443) as port:
        def ask(path, *more):
            return subprocess.run(["curl", "-sS", "--max-time", str(30 * env.patience), "--cacert", secret(config, "certificate-authority", folder), *more,
                                   "https://127.0.0.1:%d%s" % (port, path)], capture_output=True, timeout=40 * env.patience).stdout.decode()
        must(wait_for(lambda: '"%s"' % d.vm in ask("/api/v1/nodes", *keys), 60 * env.patience, 0.5), ask("/api/v1/nodes", *keys))
        must('"%s"' % d.vm not in ask("/api/v1/nodes"), "without a certificate")


@limit(500)
def case_restart(env):
    """a restart of K3s leaves the pods running; after shutdown and relaunch of the VM all of it comes back"""
    d = node(env)
    pids = "pgrep -f '^/bin/busybox httpd -f -p' | sort"
    before = d.root(pids)[1]
    must(len(before.split()) == 2, before)
    same(d.root("systemctl restart k3s", limit_s=200)[0], 0)
    same(d.root(pids)[1], before)
    same(d.cli("vm", "shutdown", d.vm, limit_s=160).returncode, 0)
    same(d.cli("vm", "relaunch", d.vm, limit_s=160).returncode, 0)
    with forward(env, d, 30080) as port:
        must(wait_for(lambda: b"from a container" in fetch(port, 20), 200 * env.patience, 1), "the NodePort after a relaunch", d.root("k3s kubectl get pods -A")[1])
