/* Tap descriptors. See tap.h. */
#include "vmm/back/tap.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

int tap_set_offload(int fd, const struct tap_offload *o)
{
	const struct {
		bool on;
		unsigned long flags;
	} rows[] = { { o->csum, TUN_F_CSUM }, { o->tso4, TUN_F_TSO4 }, { o->tso6, TUN_F_TSO6 }, { o->ecn, TUN_F_TSO_ECN }, { o->uso, TUN_F_USO4 | TUN_F_USO6 } };
	unsigned long flags = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (o->csum && rows[i].on)
			flags |= rows[i].flags;
	return ioctl(fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

int tap_attach(int fd, bool attach)
{
	struct ifreq ifr = { .ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	return ioctl(fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

int tap_prepare(int fd, int hdr_bytes, struct tap_offload *can, bool *tap, struct fault *f)
{
	struct ifreq ifr = { 0 };
	struct tap_offload none = { .csum = false };
	int err = fd_set_nonblock(fd, true);

	*can = none;
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
	*can = (struct tap_offload){ true, true, true, true, true };
	if (tap_set_offload(fd, can)) {
		can->uso = false;
		if (tap_set_offload(fd, can)) {
			*can = none;
			return 0;
		}
	}
	err = tap_set_offload(fd, &none); /* until the guest has said what it takes */
	return err ? fault_errno(f, err, "tap: offloads") : 0;
}
