#include "vmm/machine/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(VSOCK_STREAMS_MAX == 2048, "a refusal below says the number");
#define CONNECT_TIMEOUT_MS 10000u
#define INCOMING_QUEUE_BYTES 16384u

static struct machine *booted(struct control *c)
{
	return c->built ? &c->m : NULL;
}

static void on_connected(void *arg, int fd)
{
	struct control_connect *p = arg;
	struct control *c = p->c;
	AUTO_FD owned = fd >= 0 ? fd : -1;

	p->c = NULL;
	if (!c->connected || p->generation != c->generation)
		return; /* who asked has gone */
	if (fd >= 0)
		control_send(c, wire_begin(&c->out, WIRE_OK, p->id), &owned, 1);
	else
		control_err(c, p->id, 503, fd, fd == -ECONNREFUSED ? "nothing in the guest listens on that port" :
			 fd == -ETIMEDOUT ? "the guest did not answer" : "the guest's vsock device was reset");
}

static void do_connect(struct control *c, const struct wire_msg *m)
{
	struct control_connect *p = NULL;
	uint64_t port;
	int err;

	for (unsigned i = 0; i < CONTROL_CONNECTS_MAX && !p; i++)
		if (!c->connect[i].c)
			p = &c->connect[i];
	if (!wire_get_u64(m, V_T_PORT, &port) || port >= UINT32_MAX) {
		control_err(c, m->id, 400, -EINVAL, "no port, or no such port");
	} else if (!c->built || !c->m.vsock) {
		control_err(c, m->id, 503, -ENODEV, "this machine has no vsock, or does not run yet");
	} else if (!p) {
		control_err(c, m->id, 503, -EBUSY, "too many connections are being made at once");
	} else {
		*p = (struct control_connect){ .c = c, .id = m->id, .generation = c->generation };
		err = vsock_connect(c->m.vsock, (uint32_t)port, CONNECT_TIMEOUT_MS, on_connected, p);
		if (err) {
			p->c = NULL;
			control_err(c, m->id, 503, err, err == -EMFILE ? "all 2048 streams of this VM's vsock device are in use: end some, or try again" : strerror(-err));
		}
	}
}

/* A guest connects to a port that core listens on. */
static int on_incoming(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	struct control *c = arg;
	AUTO_FD owned = fd;
	size_t mark;

	/* nobody there, or core is so slow that a guest could fill the queue and cost core its connection */
	if (!c->connected || c->chan.queued_bytes > INCOMING_QUEUE_BYTES) {
		owned = -1; /* refused: the caller closes it */
		return -ENOTCONN;
	}
	mark = wire_begin(&c->out, V_INCOMING, 0);
	wire_u64(&c->out, V_T_PORT, port);
	wire_u64(&c->out, V_T_GUEST_PORT, guest_port);
	control_send(c, mark, &owned, 1);
	return 0;
}

static void do_listen(struct control *c, const struct wire_msg *m)
{
	uint64_t port;
	int err = 0;

	if (!wire_get_u64(m, V_T_PORT, &port) || port >= UINT32_MAX) {
		control_err(c, m->id, 400, -EINVAL, "no port, or no such port");
		return;
	}
	if (c->built)
		err = c->m.vsock ? vsock_listen(c->m.vsock, (uint32_t)port, on_incoming, c) : -ENODEV;
	else if (c->n_listens < CONTROL_LISTENS_MAX)
		c->listen_port[c->n_listens++] = (uint32_t)port; /* kept until there is a device */
	else
		err = -ENOSPC;
	if (err)
		control_err(c, m->id, 503, err, strerror(-err));
	else
		control_ok(c, m->id);
}

/* Whose fault a refused V_BOOT is: what was asked for, or this host. */
static uint64_t boot_status(int err)
{
	static const int asked[] = { -EINVAL, -ENOEXEC, -E2BIG, -ENOSPC, -ENOTSUP, -EBADF, -EPROTO };

	for (size_t i = 0; i < ARRAY_LEN(asked); i++)
		if (err == asked[i])
			return 400;
	return 500;
}

/* A V_BOOT that fails ends this vmm: it has used up what it was given. */
static void do_boot(struct control *c, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct fault f = { "" };
	int err;

	if (c->built) {
		for (unsigned i = 0; i < n_fds; i++)
			fd_close(&fds[i]);
		control_err(c, m->id, 409, -EALREADY, "this vmm has booted already");
		return;
	}
	err = request_parse(&c->req, m, fds, n_fds, &f);
	if (!err)
		err = machine_build(&c->m, c->kvm_fd, c->loop, &c->req, &f);
	if (!err)
		err = ev_add(c->loop, &c->note_io, c->m.note_fd, EPOLLIN);
	for (unsigned i = 0; !err && c->m.vsock && i < c->n_listens; i++)
		err = vsock_listen(c->m.vsock, c->listen_port[i], on_incoming, c);
	fd_close(&c->kvm_fd);
	fd_close(&c->req.kernel_fd);
	fd_close(&c->req.initrd_fd);
	if (!err)
		err = machine_start(&c->m, &f);
	if (err) {
		control_err(c, m->id, boot_status(err), err, f.text[0] ? f.text : strerror(-err));
		ev_stop(c->loop);
		return;
	}
	c->built = true;
	ev_timer_del(c->loop, &c->lonely_timer);
	control_ok(c, m->id);
}

static void do_pause(struct control *c, const struct wire_msg *m)
{
	int err = c->built ? (m->type == V_PAUSE ? machine_pause(&c->m) : machine_resume(&c->m)) : -ENODEV;

	if (err && err != -EALREADY)
		control_err(c, m->id, err == -ETIMEDOUT ? 500 : 409, err, err == -ENODEV ? "nothing runs yet" :
			    err == -ECANCELED ? "the VM has ended" : "a vCPU does not stop");
	else
		control_ok(c, m->id);
}

void control_stat(struct control *c, const char *name, uint64_t v)
{
	size_t mark = wire_open(&c->out, V_T_STAT);

	wire_str(&c->out, V_T_NAME, name);
	wire_u64(&c->out, V_T_VALUE, v);
	wire_close(&c->out, mark);
}

static void put_device_stats(struct control *c, unsigned i)
{
	struct vdev *v = c->m.virtio[i].vdev;
	struct vdev_stats s = vdev_stats_get(v);
	const struct {
		const char *name;
		uint64_t v;
	} rows[] = {
		{ "kicks", s.kicks }, { "irqs", s.irqs }, { "requests", s.requests }, { "in_bytes", s.in_bytes }, { "out_bytes", s.out_bytes },
		{ "errors", s.errors }, { "host_errors", s.host_errors }, { "needs_reset", s.needs_reset }, { "resets", s.resets },
	};
	unsigned nth = 0;
	char name[48];

	for (unsigned j = 0; j < i; j++)
		nth += c->m.virtio[j].vdev->ops == v->ops;
	for (size_t j = 0; j < ARRAY_LEN(rows); j++) {
		snprintf(name, sizeof(name), "%s%u.%s", v->ops->name, nth, rows[j].name);
		control_stat(c, name, rows[j].v);
	}
}

static void do_stats(struct control *c, const struct wire_msg *m)
{
	struct machine *vm = booted(c);
	size_t mark = wire_begin(&c->out, WIRE_OK, m->id);
	uint64_t pio = 0, mmio = 0, other = 0, signals = 0, unclaimed = 0, kicks = 0, irqs = 0, console = 0, lost = 0;

	for (unsigned i = 0; vm && i < vm->n_vcpus; i++) {
		pio += stats_get(&vm->vcpu[i].stats.pio);
		mmio += stats_get(&vm->vcpu[i].stats.mmio);
		other += stats_get(&vm->vcpu[i].stats.other);
		signals += stats_get(&vm->vcpu[i].stats.signals);
		unclaimed += stats_get(&vm->vcpu[i].stats.unclaimed);
	}
	control_stat(c, "exits.pio", pio);
	control_stat(c, "exits.mmio", mmio);
	control_stat(c, "exits.signal", signals);
	control_stat(c, "exits.other", other);
	control_stat(c, "unclaimed", unclaimed);
	for (unsigned i = 0; vm && i < vm->n_virtio; i++) {
		struct vdev_stats s = vdev_stats_get(vm->virtio[i].vdev);

		kicks += s.kicks;
		irqs += s.irqs;
		put_device_stats(c, i);
	}
	control_net_stats(c);
	control_stat(c, "kicks", kicks);
	control_stat(c, "irqs", irqs);
	control_stat(c, "routes", vm ? ioapic_route_changes(&vm->ioapic) : 0);
	if (vm)
		console_counts(&vm->console, &console, &lost);
	control_stat(c, "console.bytes", console);
	control_stat(c, "console.lost", lost);
	control_stat(c, "vsock.streams", vm && vm->vsock ? vsock_streams(vm->vsock) : 0);
	control_send(c, mark, NULL, 0);
}

/* Its file has grown. The guest hears of it by an interrupt. */
static void do_resize(struct control *c, const struct wire_msg *m)
{
	struct fault f = { "" };
	uint64_t index = 0;
	size_t mark;
	int err;

	wire_get_u64(m, V_T_DISK_INDEX, &index);
	if (!c->built || index >= c->m.n_disks) {
		control_err(c, m->id, 404, -ENODEV, "this VM has no such disk");
		return;
	}
	err = blk_resized(c->m.disk[index].blk, &f);
	if (err) {
		control_err(c, m->id, 500, err, f.text);
		return;
	}
	mark = wire_begin(&c->out, WIRE_OK, m->id);
	wire_u64(&c->out, V_T_DISK_BYTES, blk_bytes(c->m.disk[index].blk));
	control_send(c, mark, NULL, 0);
}

static void do_quit(struct control *c, const struct wire_msg *m)
{
	control_ok(c, m->id);
	if (c->built)
		machine_end(&c->m, REASON_KILLED, NULL, "ended by request");
	else
		ev_stop(c->loop);
}

void control_do(struct control *c, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	if (m->type == V_BOOT) {
		do_boot(c, m, fds, n_fds);
		return;
	}
	for (unsigned i = 0; i < n_fds; i++)
		fd_close(&fds[i]); /* no other request brings any */
	switch (m->type) {
	case V_CONNECT:
		do_connect(c, m);
		break;
	case V_LISTEN:
		do_listen(c, m);
		break;
	case V_PAUSE:
	case V_RESUME:
		do_pause(c, m);
		break;
	case V_STATS:
		do_stats(c, m);
		break;
	case V_NET:
		control_net(c, m);
		break;
	case V_RESIZE:
		do_resize(c, m);
		break;
	case V_QUIT:
		do_quit(c, m);
		break;
	default:
		control_err(c, m->id, 400, -ENOTSUP, "no such request");
		break;
	}
}
