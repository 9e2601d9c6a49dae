/* Tap descriptors. See tap.h. */
#include "vmm/back/tap.h"

#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>

int tap_set_offload(int fd, unsigned on)
{
	return ioctl(fd, TUNSETOFFLOAD, on & TUN_F_CSUM ? (unsigned long)on : 0ul) < 0 ? -errno : 0;
}

int tap_attach(int fd, bool attach)
{
	struct ifreq ifr = { .ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	return ioctl(fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

int tap_prepare(int fd, int hdr_bytes, unsigned *can, bool *tap, struct fault *f)
{
	struct ifreq ifr = { 0 };
	int err = fd_set_nonblock(fd, true);

	*can = 0;
	*tap = false;
	if (err)
		return fault_errno(f, err, "tap: non-blocking");
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return 0; /* no tap: packets with headers by datagram */
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_TAP))
		return fault_set(f, -EINVAL, "tap '%.15s': not made with IFF_TAP and IFF_VNET_HDR", ifr.ifr_name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0)
		return fault_errno(f, -errno, "tap: header size");
	*tap = true;
	if (tap_set_offload(fd, *can = TAP_ALL) && tap_set_offload(fd, *can &= ~TAP_USO)) {
		*can = 0;
		return 0;
	}
	err = tap_set_offload(fd, 0); /* until the guest has said what it takes */
	return err ? fault_errno(f, err, "tap: offloads") : 0;
}
