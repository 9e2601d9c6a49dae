/* What jail does for a VM's network: opens sockets in the namespace that its vmm was started in. See cage.h for the room. */
#ifndef VMM_JAIL_NETNS_H
#define VMM_JAIL_NETNS_H

#include "lib/base/base.h"
#include "lib/wire/jail.h"

/* Of the process behind pidfd. 0 with fds open (the caller owns them) and `said` telling what could not be had; or -errno with f.
 * System calls: open socket ioctl setsockopt bind listen setns, write to /proc/sys/net. Needs CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_NET_ADMIN
 * (switches, and so that netd may use the sockets), CAP_NET_BIND_SERVICE. */
int netns_open(int pidfd, int fds[J_NS_FDS], struct fault *said, struct fault *f);

#endif
