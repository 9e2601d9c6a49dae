/* What jail does for a VM's network: opens sockets in the namespace that its vmm was started in. See cage.h for the room. */
#ifndef VMM_JAIL_NETNS_H
#define VMM_JAIL_NETNS_H

#include "lib/base/base.h"
#include "lib/wire/jail.h"

/* Of the process behind pidfd. 0 with fds open (the caller owns them) and `said` telling what could not be had; or -errno with f.
 * System calls: open socket ioctl setsockopt bind listen setns, write to /proc/sys/net. Needs CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_NET_ADMIN
 * (switches, and so that netd may use the sockets), CAP_NET_BIND_SERVICE. */
int netns_open(int pidfd, int fds[J_NS_FDS], struct fault *said, struct fault *f);

/* Port 53 of the host's address(es), for those behind `link` alone: UDP and TCP of addr4, then of addr6 ("": none). 0 with fds[0..*n_fds) open (the caller
 * owns them) and `said` telling why there is no IPv6; or -errno with f (-EINVAL: no address of one machine, no link's name). Takes CAP_NET_BIND_SERVICE. */
#define NETNS_DNS_FDS 4u
struct netns_dns { const char *addr4, *addr6, *link; };
int netns_dns_open(const struct netns_dns *ask, int fds[NETNS_DNS_FDS], unsigned *n_fds, struct fault *said, struct fault *f);

#endif
