#include "api/netd/netd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int queue_open(const char *name, bool several)
{
	struct ifreq req = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0))};
	int header_bytes = 12; /* virtio_net_hdr_mrg_rxbuf: what a virtio 1 device puts before a frame (virtio 1.2 §5.1.6) */
	AUTO_FD fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (snprintf(req.ifr_name, sizeof req.ifr_name, "%s", name) >= (int)sizeof req.ifr_name)
		return -ENAMETOOLONG;
	if (ioctl(fd, TUNSETIFF, &req) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0)
		return -errno;
	int out = fd;
	fd = -1;
	return out;
}

int tap_open(const char *name, unsigned queues, int *fds)
{
	for (unsigned i = 0; i < queues; i++) {
		int fd = queue_open(name, queues > 1);
		if (fd < 0) {
			while (i)
				fd_close(&fds[--i]);
			return fd;
		}
		fds[i] = fd;
	}
	return 0;
}
