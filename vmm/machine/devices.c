#include <errno.h>

#include "vmm/dev/blk.h"
#include "vmm/dev/net.h"
#include "vmm/dev/rng.h"
#include "vmm/dev/vsock.h"
#include "vmm/machine/machine.h"

/* The virtio devices of a machine, one row a kind. Order here is order of discovery in the guest: disks come first, so that
 * /dev/vda is the first disk, whatever else there is. A new device is a file in vmm/dev and a row here. */

static unsigned count_disks(const struct boot_request *req)
{
	return req->n_disks;
}

static int add_disk(struct machine *m, unsigned i, struct fault *f)
{
	struct request_disk *d = &m->req->disk[i];
	struct blk *b;
	unsigned queues = m->req->vcpus < BLK_QUEUES_MAX ? m->req->vcpus : BLK_QUEUES_MAX;
	int err = blk_new(&b, &m->gm, &d->files, d->read_only, d->id[0] ? d->id : NULL, queues, f);

	d->files = (struct disk_files){ -1, -1, -1 }; /* taken */
	if (err)
		return fault_wrap(f, err, "disk %u", i);
	blk_limit(b, &d->limit);
	blk_on_trouble(b, machine_disk_news, m);
	m->disk[m->n_disks++] = (struct machine_disk){ .m = m, .blk = b };
	return machine_add_virtio(m, blk_vdev(b), machine_sandbox_disk, f);
}

static unsigned count_nets(const struct boot_request *req)
{
	return req->n_nets;
}

static int add_net(struct machine *m, unsigned i, struct fault *f)
{
	struct request_net *r = &m->req->net[i];
	struct net *n;
	int err = net_new(&n, &m->gm, r->fd, r->n_fds, r->mac, f);

	if (err)
		return fault_wrap(f, err, "network card %u", i);
	r->n_fds = 0; /* the device's now */
	net_set_base(n, r->limit);
	m->net[m->n_nets++] = n;
	err = machine_add_virtio(m, net_vdev(n), machine_sandbox_net, f);
	return err ? err : net_reserve(n) ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

static unsigned count_vsock(const struct boot_request *req)
{
	return req->cid ? 1 : 0;
}

static int add_vsock(struct machine *m, unsigned i, struct fault *f)
{
	int err = vsock_new(&m->vsock, &m->gm, m->req->cid, f);

	(void)i;
	return err ? err : machine_add_virtio(m, vsock_vdev(m->vsock), NULL, f);
}

static unsigned count_rng(const struct boot_request *req)
{
	(void)req;
	return 1;
}

static int add_rng(struct machine *m, unsigned i, struct fault *f)
{
	struct rng *r;
	int err = rng_new(&r, &m->gm);

	(void)i;
	return err ? fault_errno(f, err, "rng") : machine_add_virtio(m, rng_vdev(r), NULL, f);
}

static const struct {
	unsigned (*count)(const struct boot_request *req);
	int (*add)(struct machine *m, unsigned i, struct fault *f);
} devices[] = {
	{ count_disks, add_disk },
	{ count_nets, add_net },
	{ count_vsock, add_vsock },
	{ count_rng, add_rng },
};

unsigned machine_count_devices(const struct boot_request *req)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(devices); i++)
		n += devices[i].count(req);
	return n;
}

int machine_add_devices(struct machine *m, struct fault *f)
{
	for (size_t i = 0; i < ARRAY_LEN(devices); i++)
		for (unsigned j = 0; j < devices[i].count(m->req); j++) {
			int err = devices[i].add(m, j, f);

			if (err)
				return err;
		}
	return 0;
}
