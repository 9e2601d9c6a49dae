#!/bin/bash
# guest_docker.sh PART: runs inside a guest as user ubuntu, with busy.tar (docker save of local.example/busy:1) in the home folder: what people do with
# containers. One line for each thing: "ok NAME" or "bad NAME: what came"; the last is "end". PARTs: docker, again (after a boot), compose, podman, builder.
# case_docker.py brings it in and reads what it says. The commands' texts are in single quotes: look evaluates them.
# shellcheck disable=SC2016
set -u
cd || exit 1
img=local.example/busy:1
look() { # NAME SCRIPT: it must end with 0
	local out
	out=$(eval "set -eo pipefail; $2" 2>&1 </dev/null) # not in a condition, where -e is ignored
	case $? in 0) echo "ok $1" ;; *) echo "bad $1: $(tail -n 6 <<<"$out" | tr '\n' ' ')" ;; esac
}
comes() { # SCRIPT: succeeds within a minute or so, and ten tries
	local n=0 end=$((SECONDS + 60))
	while [ $SECONDS -lt $end ] || [ $((n += 1)) -lt 10 ]; do
		if eval "$1"; then return 0; fi
		sleep 0.3
	done
	echo "never: $1"
	return 1
}
is() { [ "$1" = "$2" ] || { echo "$1, not $2"; return 1; }; } # GOT WANT
has() { case $1 in *"$2"*) ;; *) echo "$1 lacks $2"; return 1 ;; esac; } # TEXT PART
not() { if "$@"; then echo "succeeded: $*"; return 1; fi; }
exits() { # CODE COMMAND...
	local want=$1 rc=0
	shift
	"$@" || rc=$?
	is $rc "$want"
}
drun() { docker run --rm --network none "$@"; }

get() ( # PORT [FILE]
	exec 2>/dev/null 5<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /%s HTTP/1.0\r\n\r\n' "${2:-index.html}" >&5 && timeout 20 cat <&5
)

context() { # of a build
	mkdir -p ctx && echo a-note >ctx/note.txt && cat >ctx/Dockerfile <<-'END'
		FROM local.example/busy:1
		ARG word=none
		WORKDIR /srv
		COPY note.txt .
		RUN echo "$word $(id -u)" >built && cat note.txt >>built && mkdir -p /tmp && chmod 1777 /tmp
		USER 1000
		HEALTHCHECK --interval=1s --timeout=20s --retries=1 CMD test -e /tmp/well
		CMD ["cat", "built"]
	END
}

part_docker() {
	look "load" 'has "$(docker load -i busy.tar)" "$img"'
	look "what rootfs/RECIPES.md says for Docker" 'docker create --name kept $img; docker export -o busybox.tar kept; docker rm kept; docker import busybox.tar busy:1 && docker run --rm busy:1 /bin/busybox uname -a'
	look "what it says for containerd" 'sudo ctr image import /home/ubuntu/busy.tar && sudo ctr run --rm local.example/busy:1 one /bin/busybox uname -a'
	look "overlay2, cgroup v2 by systemd, seccomp" 'is "$(docker info -f "{{.Driver}} {{.CgroupVersion}} {{.CgroupDriver}}")" "overlay2 2 systemd"; has "$(docker info -f "{{.SecurityOptions}}")" seccomp
		has "$(drun $img mount)" "overlay on / "'
	look "docker info warns of nothing that the kernel lacks" 'is "$(docker info 2>&1 | grep "^WARNING: No ")" ""'
	context
	look "build" 'docker build -q --build-arg word=hello -t mine:1 ctx; is "$(drun mine:1)" "$(printf "hello 0\na-note")"; is "$(drun mine:1 id -u)" 1000'
	look "a second build takes its steps from the cache" 'has "$(docker build --build-arg word=hello -t mine:2 ctx)" "Using cache"'
	look "BuildKit builds" 'DOCKER_BUILDKIT=1 docker build -q --build-arg word=kit -t mine:kit ctx; has "$(drun mine:kit)" "kit 0"'
	look "save, and load again" 'docker save -o saved.tar mine:1; docker rmi mine:1 mine:2; docker load -i saved.tar; has "$(drun mine:1)" a-note'
	look "commit, diff, cp" 'docker run --name made --network none $img sh -c "mkdir -p /new; echo 5 >/new/file"; has "$(docker diff made)" "A /new/file"; docker cp made:/new/file five; is "$(cat five)" 5
		docker commit made mine:made; docker rm made; is "$(drun mine:made cat /new/file)" 5'

	look "two of a network find each other by name" 'docker network create --subnet 172.31.7.0/24 net1; docker run -d --name one --network net1 --network-alias alias1 $img httpd -f -p 80 -h /www
		comes "docker run --rm --network net1 $img get one | grep -q \"from a container\""
		comes "docker run --rm --network net1 $img get alias1 | grep -q \"from a container\""; has "$(docker run --rm --network net1 $img cat /etc/resolv.conf)" "nameserver 127.0.0.11"'
	look "the rules of its name server, inside the container's namespace" 'has "$(sudo nsenter -t "$(docker inspect -f "{{.State.Pid}}" one)" -n iptables-save -t nat)" "-d 127.0.0.11/32"'
	look "another network does not reach it" 'docker network create net2; not docker run --rm --network net2 $img get "$(docker inspect -f "{{.NetworkSettings.Networks.net1.IPAddress}}" one)" index.html 3
		docker network connect net2 one; comes "docker run --rm --network net2 $img get one | grep -q \"from a container\""'
	look "a published port" 'docker run -d --name web -p 8080:80 -p 127.0.0.1:8081:80 $img httpd -f -p 80 -h /www; for p in 8080 8081; do comes "get $p | grep -q \"from a container\""; done'
	look "Docker's rules of iptables" 'rules=$(sudo iptables-save); has "$rules" "-A FORWARD -j DOCKER-USER"; has "$rules" "--dport 8080 -j DNAT --to-destination"; has "$rules" "172.31.7.0/24 ! -o br-"'
	look "macvlan, host" 'docker network create -d macvlan -o parent=eth0 --subnet 10.250.0.0/24 mv; docker run --rm --network mv $img sh -c "ip addr show eth0" | grep -q 10.250.0.
		has "$(docker run --rm --network host $img ip addr)" docker0; docker network rm mv'

	look "volumes, shared and read-only" 'docker volume create v1; drun -v v1:/data $img sh -c "echo kept >/data/f"; is "$(drun -v v1:/data:ro $img cat /data/f)" kept; not drun -v v1:/data:ro $img sh -c "echo x >/data/f"
		is "$(drun -v "$PWD/ctx:/in:ro" $img cat /in/note.txt)" a-note; drun --tmpfs /t:size=1m $img sh -c "! head -c 2000000 /dev/zero >/t/f"'
	look "--memory kills what wants more" 'exits 137 docker run --name big --network none --memory 24m --memory-swap 24m $img tail /dev/zero; is "$(docker inspect -f "{{.State.OOMKilled}} {{.State.ExitCode}}" big)" "true 137"; docker rm big'
	look "--cpus holds back" 'drun --cpus 0.2 $img sh -c "read a b </sys/fs/cgroup/cpu.max; test \$a.\$b = 20000.100000; n=0; while ! grep -q \"nr_throttled [1-9]\" /sys/fs/cgroup/cpu.stat; do n=\$((n+1)); test \$n -lt 100000; done"'
	look "--pids-limit" 'has "$(drun --pids-limit 8 $img sh -c "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 9 & done" 2>&1 || true)" "can'\''t fork"'
	look "--cpuset-cpus, --blkio-weight, --ulimit, --shm-size, --device" 'has "$(drun --cpuset-cpus 0 $img grep Cpus_allowed_list /proc/self/status)" "	0"; is "$(drun --ulimit nofile=77 $img sh -c "ulimit -n")" 77
		drun --blkio-weight 300 $img true; has "$(drun --shm-size 3m $img df -k /dev/shm)" 3072; drun --device /dev/fuse $img test -c /dev/fuse'
	look "update of a limit" 'docker update --memory 100m --memory-swap 200m one; is "$(docker exec one cat /sys/fs/cgroup/memory.max)" 104857600'
	look "a healthcheck turns from bad to good" 'docker run -d --name sick --network none mine:1 sleep 3000; comes "test \$(docker inspect -f {{.State.Health.Status}} sick) = unhealthy"; docker exec -u 0 sick touch /tmp/well
		comes "test \$(docker inspect -f {{.State.Health.Status}} sick) = healthy"; docker rm -f sick'
	look "exec: user, folder, environment, exit code, input" 'is "$(docker exec -u 1000 -w /www -e X=5 one sh -c "echo \$(id -u) \$PWD \$X")" "1000 /www 5"; exits 7 docker exec one sh -c "exit 7"; is "$(echo in | docker exec -i one cat)" in'
	look "logs" 'docker run --name talks --network none $img sh -c "echo out; echo err >&2"; is "$(docker logs talks 2>/dev/null)" out; is "$(docker logs talks 2>&1 >/dev/null)" err; docker rm talks'
	look "top, stats, pause" 'has "$(docker top one)" httpd; has "$(docker stats --no-stream --format "{{.Name}} {{.MemUsage}}" one)" "100MiB"; docker pause one; is "$(docker inspect -f "{{.State.Status}}" one)" paused; docker unpause one'
	look "--read-only, --cap-drop, --cap-add, no-new-privileges" 'not drun --read-only $img sh -c "echo x >/x"; has "$(drun --cap-drop ALL $img grep CapEff /proc/self/status)" 0000000000000000
		has "$(drun $img grep CapEff /proc/self/status)" 00000000a80425fb; not drun $img ip link add d0 type dummy; drun --cap-add NET_ADMIN $img ip link add d0 type dummy
		has "$(drun --security-opt no-new-privileges $img grep NoNewPrivs /proc/self/status)" "	1"'
	look "the seccomp profile is on" 'has "$(drun $img grep ^Seccomp: /proc/self/status)" "	2"; has "$(drun --security-opt seccomp=unconfined $img grep ^Seccomp: /proc/self/status)" "	0"; not drun $img mount -t tmpfs t /www; not drun $img unshare -U true'
	look "--privileged, --init, --pid host" 'drun --privileged $img mount -t tmpfs t /www; has "$(drun --init $img cat /proc/1/comm)" init; has "$(drun --pid host $img cat /proc/1/comm)" systemd'
	look "on-failure:2 tries twice more" 'docker run -d --name fails --restart on-failure:2 --network none $img false; comes "test \$(docker inspect -f {{.RestartCount}}.{{.State.Running}} fails) = 2.false"; docker rm fails'
	look "restart=always: a restart of Docker" 'docker run -d --name ever --restart always -p 8085:80 -v v1:/data $img httpd -f -p 80 -h /data; sudo systemctl restart docker; comes "test \$(docker inspect -f {{.State.Running}} ever) = true"
		comes "get 8085 f | grep -q kept"; is "$(docker inspect -f "{{.State.Running}}" one)" false'
	docker rm -f one web >/dev/null 2>&1
	sync
}


part_again() {
	look "restart=always: a boot" 'comes "test \$(docker inspect -f {{.State.Running}} ever 2>/dev/null) = true"; comes "get 8085 f | grep -q kept"; is "$(drun mine:1)" "$(printf "hello 0\na-note")"'
	docker rm -f ever >/dev/null 2>&1
	look "everything goes" 'docker system prune -af --volumes; is "$(docker images -q | wc -l)" 0'
}

part_compose() {
	docker load -qi busy.tar >/dev/null
	mkdir -p app && cat >app/docker-compose.yml <<-'END'
		version: "3.8"
		services:
		  web:
		    image: local.example/busy:1
		    command: httpd -f -p 80 -h /data
		    volumes: ["data:/data"]
		    ports: ["8086:80"]
		    depends_on: [fill]
		  fill:
		    build: {context: ., network: none}
		    command: sh -c 'cat /note >/data/index.html; exec sleep 3000'
		    volumes: ["data:/data"]
		    environment: {X: "5"}
		volumes: {data: {}}
	END
	printf 'FROM local.example/busy:1\nRUN echo composed >/note\n' >app/Dockerfile
	look "compose: up, a build, a volume, a port, names" 'cd app; docker-compose up -d; comes "get 8086 | grep -q composed"; comes "docker-compose exec -T fill get web | grep -q composed"'
	look "compose: exec, logs, ps, down" 'cd app; is "$(docker-compose exec -T fill sh -c "echo \$X")" 5; has "$(docker-compose ps)" Up; docker-compose down -v -t 1; is "$(docker ps -aq | wc -l)" 0'
}

part_podman() {
	look "podman as root: load, run, a network with names, a port" 'sudo podman load -i busy.tar; is "$(sudo podman run --rm $img id -u)" 0; sudo podman network create n1; sudo podman run -d --name one --network n1 -p 8087:80 $img httpd -f -p 80 -h /www
		comes "get 8087 | grep -q \"from a container\""; comes "sudo podman run --rm --network n1 $img get one | grep -q \"from a container\""; sudo podman rm -f -t 0 one'
	look "podman as root: a pod, limits, build" 'sudo podman pod create --name p; sudo podman run -d --pod p $img httpd -f -p 80 -h /www; comes "sudo podman run --rm --pod p $img get 127.0.0.1 | grep -q container"
		sudo podman pod rm -f -t 0 p; is "$(sudo podman run --rm --memory 64m $img cat /sys/fs/cgroup/memory.max)" 67108864'
	sudo loginctl enable-linger ubuntu
	export XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus
	look "podman without root: load, its users, overlay" 'podman load -i busy.tar; is "$(podman info -f "{{.Store.GraphDriverName}} {{.Host.Security.Rootless}}")" "overlay true"
		is "$(podman run --rm --network none $img sh -c "id -u; cat /proc/self/uid_map | wc -l")" "$(printf "0\n2")"'
	look "podman without root: limits, by the user's own systemd" 'comes "test -S /run/user/1000/bus"; is "$(podman info -f "{{.Host.CgroupManager}}")" systemd
		is "$(podman run --rm --network none --memory 64m $img cat /sys/fs/cgroup/memory.max)" 67108864'
	look "podman without root: a port, by slirp4netns" 'podman run -d --name web -p 8088:80 $img httpd -f -p 80 -h /www; comes "get 8088 | grep -q \"from a container\""; podman rm -f -t 0 web'
	look "podman without root: a build" 'mkdir -p pctx; printf "FROM $img\nRUN echo rootless >/note\nCMD cat /note\n" >pctx/Dockerfile; podman build -t pod:1 pctx; is "$(podman run --rm --network none pod:1)" rootless'
	look "podman without root: fuse-overlayfs" 'f="podman --root $PWD/fuse --storage-driver overlay --storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs"; $f load -i busy.tar; has "$($f run --rm --network none $img mount)" fuse-overlayfs'
}

part_builder() {
	context
	look "buildah: a Dockerfile to an OCI archive" 'sudo buildah pull docker-archive:busy.tar; sudo buildah bud -t app:1 --build-arg word=built ctx; sudo buildah push app:1 oci-archive:app.tar:local.example/app:1; sudo chown ubuntu app.tar; test -s app.tar'
}

"part_$1"
echo end
