/*
 * init: PID 1 of a mica guest. Mounts the kernel's file systems, sets hostname and network from the
 * environment words the kernel hands over (MICA_HOST MICA_IP MICA_GW MICA_IP6 MICA_GW6 MICA_DNS), keeps the agent
 * running, reaps orphans, and stops the machine on a signal: SIGUSR1 and SIGUSR2 power off, SIGTERM and SIGINT
 * reboot. Never exits, never allocates, never parses a file; stands on lib/base alone. One thread.
 * Whatever fails is said in one line on the console, and the boot goes on: a guest with an agent can be mended.
 * `init --network` sets name and network alone: where another init came first, as a service of it (rootfs/unpack/adopt.c).
 */
#ifndef INIT_INIT_H
#define INIT_INIT_H

#include <sys/types.h>

#include "lib/base/base.h"

#define AGENT_PATH "/usr/local/bin/slicer-agent"
/* In an image with an init of its own a link to it stands here (rootfs/unpack): we become it once name and network are set, and it keeps the agent. */
#define NEXT_PATH "/usr/lib/mica/next"

/* One line "init: what: reason" on the console; err 0 leaves the reason out. */
void say(const char *what, int err);

pid_t start(const char *path, char *const argv[], char *const envp[]); /* a child in a session of its own; -1 with errno */

/* First what the kernel and we ourselves need; then (late) what another init would make as its distribution wants it: Debian's /tmp is no tmpfs,
 * systemd's cgroup2 has more options. */
void mounts_make(bool late);

/* In the built-in image: busybox, whose udhcpc asks the LAN for an address, and what it runs with the answer. */
#define BUSYBOX_PATH "/bin/busybox"
#define DHCP_PATH "/usr/lib/mica/dhcp"

/* The words of the environment. Absent MICA_IP: loopback only; "dhcp": a udhcpc is started, which keeps the lease. */
struct net_words {
	const char *host, *ip, *gateway, *ip6, *gateway6, *dns; /* NULL: not given */
};
void net_up(const struct net_words *w);

#endif
