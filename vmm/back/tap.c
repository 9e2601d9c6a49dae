/* Tap descriptors. See tap.h. */
#include "vmm/back/tap.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

int tap_set_offload(int fd, const struct tap_offload *o)
{
	unsigned long flags = 0;

	if (o->csum)
		flags |= TUN_F_CSUM;
	if (o->csum && o->tso4)
		flags |= TUN_F_TSO4;
	if (o->csum && o->tso6)
		flags |= TUN_F_TSO6;
	return ioctl(fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

int tap_prepare(int fd, int hdr_bytes, bool *offload, struct fault *f)
{
	struct ifreq ifr = { 0 };
	struct tap_offload all = { true, true, true }, none = { false, false, false };
	int err = fd_set_nonblock(fd, true);

	*offload = false;
	if (err)
		return fault_errno(f, err, "tap: non-blocking");
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return 0; /* no tap: packets with headers by datagram */
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_TAP))
		return fault_set(f, -EINVAL, "tap '%.15s': not made with IFF_TAP and IFF_VNET_HDR", ifr.ifr_name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0)
		return fault_errno(f, -errno, "tap: header size");
	*offload = tap_set_offload(fd, &all) == 0;
	err = *offload ? tap_set_offload(fd, &none) : 0; /* until the guest has said what it takes */
	return err ? fault_errno(f, err, "tap: offloads") : 0;
}
