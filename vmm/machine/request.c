#include "vmm/machine/request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct request_fds {
	int *fds;
	unsigned n;
};

/* Takes the descriptor that an index names; each can be taken once. */
static int request_fd(struct request_fds *have, const struct wire_msg *m, uint16_t tag, const char *what, bool optional, int *out, struct fault *f)
{
	uint64_t i;

	*out = -1;
	if (!wire_get_u64(m, tag, &i)) {
		struct wire_field field;

		if (optional && !wire_get(m, tag, &field))
			return 0;
		return fault_set(f, -EINVAL, "%s: no descriptor named", what);
	}
	if (i >= have->n || have->fds[i] < 0)
		return fault_set(f, -EBADF, "%s: descriptor %llu was not sent, or is named twice", what, (unsigned long long)i);
	*out = have->fds[i];
	have->fds[i] = -1;
	return 0;
}

static int request_disk(struct boot_request *r, struct request_fds *have, const struct wire_field *field, struct fault *f)
{
	struct request_disk *d = &r->disk[r->n_disks];
	struct wire_msg m;
	uint64_t ro = 0;
	int err;

	if (r->n_disks == VMM_DISKS_MAX)
		return fault_set(f, -E2BIG, "more than %u disks", VMM_DISKS_MAX);
	if (wire_sub(field, &m))
		return fault_set(f, -EPROTO, "disk %u: broken record", r->n_disks);
	d->files = (struct disk_files){ -1, -1, -1 };
	r->n_disks++; /* from here on request_done() closes them */
	err = request_fd(have, &m, V_T_FD, "disk", false, &d->files.top_fd, f);
	if (!err)
		err = request_fd(have, &m, V_T_BASE_FD, "disk's base", true, &d->files.base_fd, f);
	if (!err)
		err = request_fd(have, &m, V_T_MAP_FD, "disk's map", true, &d->files.map_fd, f);
	if (err)
		return err;
	wire_get_u64(&m, V_T_READONLY, &ro);
	d->read_only = ro;
	wire_get_u64(&m, V_T_BYTES_S, &d->limit.bytes_s);
	wire_get_u64(&m, V_T_OPS_S, &d->limit.packets_s);
	err = wire_get_str(&m, V_T_ID, d->id, sizeof(d->id));
	if (err && err != -ENOENT)
		return fault_set(f, -EINVAL, "disk %u: its id is longer than %u bytes", r->n_disks - 1, REQUEST_ID_MAX);
	return shape_check(&(struct shape_policy){ .limit = { d->limit } }, f);
}

/* Every FD of the record: one a queue pair. */
static int request_taps(struct request_net *n, struct request_fds *have, const struct wire_msg *m, struct fault *f)
{
	struct wire_iter it;
	struct wire_field field;
	uint64_t i;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &field)) {
		if (field.tag != V_T_FD)
			continue;
		if (n->n_fds == NET_PAIRS_MAX)
			return fault_set(f, -E2BIG, "network card: more than %u queue pairs", NET_PAIRS_MAX);
		if (!wire_field_u64(&field, &i) || i >= have->n || have->fds[i] < 0)
			return fault_set(f, -EBADF, "network card: a descriptor was not sent, or is named twice");
		n->fd[n->n_fds++] = have->fds[i];
		have->fds[i] = -1;
	}
	return n->n_fds ? 0 : fault_set(f, -EINVAL, "network card: no descriptor named");
}

static int request_limits(struct request_net *n, const struct wire_msg *m, struct fault *f)
{
	struct shape_policy p = { .cut = false };

	wire_get_u64(m, V_T_RX_BYTES_S, &p.limit[SHAPE_IN].bytes_s);
	wire_get_u64(m, V_T_TX_BYTES_S, &p.limit[SHAPE_OUT].bytes_s);
	wire_get_u64(m, V_T_RX_PACKETS_S, &p.limit[SHAPE_IN].packets_s);
	wire_get_u64(m, V_T_TX_PACKETS_S, &p.limit[SHAPE_OUT].packets_s);
	memcpy(n->limit, p.limit, sizeof(n->limit));
	return shape_check(&p, f);
}

static int request_net(struct boot_request *r, struct request_fds *have, const struct wire_field *field, struct fault *f)
{
	struct request_net *n = &r->net[r->n_nets];
	struct wire_msg m;
	struct wire_field mac;
	int err;

	if (r->n_nets == REQUEST_NETS_MAX)
		return fault_set(f, -E2BIG, "more than %u network cards", REQUEST_NETS_MAX);
	if (wire_sub(field, &m))
		return fault_set(f, -EPROTO, "network card %u: broken record", r->n_nets);
	if (!wire_get(&m, V_T_MAC, &mac) || mac.n != sizeof(n->mac))
		return fault_set(f, -EINVAL, "network card %u: no MAC address of 6 bytes", r->n_nets);
	memcpy(n->mac, mac.p, sizeof(n->mac));
	r->n_nets++; /* from here on request_done() closes what it has */
	err = request_taps(n, have, &m, f);
	return err ? err : request_limits(n, &m, f);
}

static int request_lists(struct boot_request *r, struct request_fds *have, const struct wire_msg *m, struct fault *f)
{
	struct wire_iter it;
	struct wire_field field;
	int err = 0;

	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &field)) {
		if (field.tag == V_T_DISK)
			err = request_disk(r, have, &field, f);
		else if (field.tag == V_T_NET)
			err = request_net(r, have, &field, f);
	}
	return err;
}

static int request_sizes(struct boot_request *r, const struct wire_msg *m, struct fault *f)
{
	uint64_t vcpus = 0, flag = 0;
	int err;

	if (!wire_get_u64(m, V_T_VCPUS, &vcpus) || vcpus < 1 || vcpus > VMM_VCPUS_MAX)
		return fault_set(f, -EINVAL, "vCPUs: %llu; 1 to %u are possible", (unsigned long long)vcpus, VMM_VCPUS_MAX);
	r->vcpus = (unsigned)vcpus;
	if (!wire_get_u64(m, V_T_RAM_BYTES, &r->ram_bytes) || r->ram_bytes < REQUEST_RAM_MIN_BYTES)
		return fault_set(f, -EINVAL, "RAM: %llu bytes; at least %llu MiB are needed", (unsigned long long)r->ram_bytes,
				 (unsigned long long)(REQUEST_RAM_MIN_BYTES >> 20));
	err = wire_get_str(m, V_T_CMDLINE, r->cmdline, VMM_CMDLINE_MAX);
	if (err && err != -ENOENT)
		return fault_set(f, -EINVAL, "kernel command line: longer than %u bytes, or with a NUL in it", VMM_CMDLINE_MAX - 1);
	if (wire_get_u64(m, V_T_CID, &r->cid) && (r->cid < 3 || r->cid >= UINT32_MAX))
		return fault_set(f, -EINVAL, "vsock: context id %llu; 3 or more is needed", (unsigned long long)r->cid);
	r->ephemeral = wire_get_u64(m, V_T_EPHEMERAL, &flag) && flag;
	if (wire_get_u64(m, V_T_NO_ACPI, &flag) && flag) /* no MP table either: such a guest would have no interrupts */
		return fault_set(f, -ENOTSUP, "a kernel without ACPI: this machine describes its vCPUs, interrupts and devices by ACPI alone");
	return 0;
}

int request_parse(struct boot_request *r, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f)
{
	struct request_fds have = { fds, n_fds };
	int err;

	memset(r, 0, sizeof(*r));
	r->kernel_fd = r->initrd_fd = r->console_fd = r->report_fd = -1;
	err = request_fd(&have, m, V_T_KERNEL_FD, "kernel", false, &r->kernel_fd, f);
	if (!err)
		err = request_fd(&have, m, V_T_INITRD_FD, "initrd", true, &r->initrd_fd, f);
	if (!err)
		err = request_fd(&have, m, V_T_CONSOLE_FD, "console log", true, &r->console_fd, f);
	if (!err)
		err = request_fd(&have, m, V_T_REPORT_FD, "report", true, &r->report_fd, f);
	if (!err)
		err = request_sizes(r, m, f);
	if (!err)
		err = request_lists(r, &have, m, f);
	for (unsigned i = 0; i < n_fds; i++)
		fd_close(&fds[i]);
	return err;
}

void request_done(struct boot_request *r)
{
	fd_close(&r->kernel_fd);
	fd_close(&r->initrd_fd);
	fd_close(&r->console_fd);
	fd_close(&r->report_fd);
	for (unsigned i = 0; i < r->n_disks; i++) {
		fd_close(&r->disk[i].files.top_fd);
		fd_close(&r->disk[i].files.base_fd);
		fd_close(&r->disk[i].files.map_fd);
	}
	for (unsigned i = 0; i < r->n_nets; i++)
		for (unsigned j = 0; j < r->net[i].n_fds; j++)
			fd_close(&r->net[i].fd[j]);
}
