#include "vmm/machine/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX_BYTES (1u << 20)
#define CONNECT_TIMEOUT_MS 10000u
#define CONSOLE_DELAY_MS 50u  /* how long a line without an end waits */
#define PANIC_DELAY_MS 500u   /* how long a guest that said it panicked may go on talking */
#define LONELY_MS 60000u      /* a vmm that nobody boots ends */
#define GOODBYE_MS 1000

static void on_chan(struct ev_io *io, uint32_t events);

static struct machine *booted(struct control *c)
{
	return c->built ? &c->m : NULL;
}

/* ---- sending ---- */

static void drop_connection(struct control *c)
{
	if (!c->connected)
		return;
	ev_del(c->loop, &c->chan_io);
	chan_done(&c->chan);
	c->connected = false;
	if (!c->built)
		ev_timer_set(c->loop, &c->lonely_timer, LONELY_MS);
}

/* Sends what stands in c->out. A peer that cannot be written to is dropped; the next one asks anew. */
static void send_out(struct control *c, size_t mark, const int *fds, unsigned n_fds)
{
	int err = wire_end(&c->out, mark);

	if (!err && c->connected)
		err = chan_send(&c->chan, &c->out, fds, n_fds);
	buf_clear(&c->out);
	if (!c->connected)
		return;
	if (err)
		drop_connection(c);
	else
		ev_mod(c->loop, &c->chan_io, chan_want(&c->chan));
}

static void send_ok(struct control *c, uint32_t id)
{
	send_out(c, wire_begin(&c->out, WIRE_OK, id), NULL, 0);
}

static void send_err(struct control *c, uint32_t id, uint64_t status, int err, const char *text)
{
	size_t mark = wire_begin(&c->out, WIRE_ERR, id);

	wire_u64(&c->out, WIRE_T_STATUS, status);
	wire_str(&c->out, WIRE_T_TEXT, text);
	wire_u64(&c->out, WIRE_T_ERRNO, (uint64_t)-err);
	send_out(c, mark, NULL, 0);
}

static void send_hello(struct control *c)
{
	static const char *const states[] = { "new", "running", "paused", "running" };
	size_t mark = wire_begin(&c->out, V_HELLO, 0);

	wire_str(&c->out, V_T_VERSION, MICA_VERSION);
	wire_str(&c->out, V_T_STATE, c->built ? states[atomic_load(&c->m.state)] : "new");
	send_out(c, mark, NULL, 0);
}

/* ---- the end ---- */

/* Report file first: it is what is left when nobody listens. */
static void write_report(struct control *c, const char *word, const char *text)
{
	char report[MACHINE_END_TEXT_BYTES + 64];
	int n;

	if (c->req.report_fd < 0)
		return;
	n = snprintf(report, sizeof(report), "%s\n%s\n", word, text);
	if (n > 0)
		pwrite_full(c->req.report_fd, report, (size_t)n < sizeof(report) ? (size_t)n : sizeof(report) - 1, 0);
}

static void say_goodbye(struct control *c)
{
	struct machine *m = &c->m;
	uint64_t until_ms = now_mono_ms() + GOODBYE_MS;
	const char *word;
	char text[MACHINE_END_TEXT_BYTES];
	size_t mark;

	pthread_mutex_lock(&m->end_lock);
	word = machine_reason_word(m->reason);
	memcpy(text, m->end_text, sizeof(text));
	pthread_mutex_unlock(&m->end_lock);
	console_flush(&m->console);
	write_report(c, word, text);
	mark = wire_begin(&c->out, V_EXITED, 0);
	wire_str(&c->out, V_T_REASON, word);
	wire_str(&c->out, V_T_TEXT, text);
	send_out(c, mark, NULL, 0);
	while (c->connected && chan_flush(&c->chan) == -EAGAIN && now_mono_ms() < until_ms)
		chan_wait(&c->chan, EPOLLOUT, 50);
}

static void on_console_timer(struct ev_timer *t)
{
	struct control *c = t->arg;

	console_flush(&c->m.console);
}

static void on_panic_timer(struct ev_timer *t)
{
	struct control *c = t->arg;

	machine_end(&c->m, REASON_PANIC, NULL, "the guest's kernel panicked");
}

static void on_lonely_timer(struct ev_timer *t)
{
	struct control *c = t->arg;

	ev_stop(c->loop);
}

/* A thread of the machine has news. */
static void on_note(struct ev_io *io, uint32_t events)
{
	struct control *c = io->arg;
	uint64_t n;

	(void)events;
	if (read(io->fd, &n, sizeof(n)) < 0)
		return;
	if (atomic_load(&c->m.state) == MACHINE_ENDED)
		ev_stop(c->loop);
	if (atomic_exchange(&c->m.console_pending, false))
		ev_timer_set(c->loop, &c->console_timer, CONSOLE_DELAY_MS);
	if (atomic_load(&c->m.panicked) && !c->panic_timer.slot)
		ev_timer_set(c->loop, &c->panic_timer, PANIC_DELAY_MS);
}

/* ---- requests ---- */

static void on_connected(void *arg, int fd)
{
	struct control_connect *p = arg;
	struct control *c = p->c;
	AUTO_FD owned = fd >= 0 ? fd : -1;

	p->c = NULL;
	if (!c->connected || p->generation != c->generation)
		return; /* who asked has gone */
	if (fd >= 0)
		send_out(c, wire_begin(&c->out, WIRE_OK, p->id), &owned, 1);
	else
		send_err(c, p->id, 503, fd, fd == -ECONNREFUSED ? "nothing in the guest listens on that port" :
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
		send_err(c, m->id, 400, -EINVAL, "no port, or no such port");
	} else if (!c->built || !c->m.vsock) {
		send_err(c, m->id, 503, -ENODEV, "this machine has no vsock, or does not run yet");
	} else if (!p) {
		send_err(c, m->id, 503, -EBUSY, "too many connections are being made at once");
	} else {
		*p = (struct control_connect){ .c = c, .id = m->id, .generation = c->generation };
		err = vsock_connect(c->m.vsock, (uint32_t)port, CONNECT_TIMEOUT_MS, on_connected, p);
		if (err) {
			p->c = NULL;
			send_err(c, m->id, 503, err, strerror(-err));
		}
	}
}

/* A guest connects to a port that core listens on. */
static int on_incoming(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	struct control *c = arg;
	AUTO_FD owned = fd;
	size_t mark;

	if (!c->connected) {
		owned = -1; /* refused: the caller closes it */
		return -ENOTCONN;
	}
	mark = wire_begin(&c->out, V_INCOMING, 0);
	wire_u64(&c->out, V_T_PORT, port);
	wire_u64(&c->out, V_T_GUEST_PORT, guest_port);
	send_out(c, mark, &owned, 1);
	return 0;
}

static void do_listen(struct control *c, const struct wire_msg *m)
{
	uint64_t port;
	int err = 0;

	if (!wire_get_u64(m, V_T_PORT, &port) || port >= UINT32_MAX) {
		send_err(c, m->id, 400, -EINVAL, "no port, or no such port");
		return;
	}
	if (c->built)
		err = c->m.vsock ? vsock_listen(c->m.vsock, (uint32_t)port, on_incoming, c) : -ENODEV;
	else if (c->n_listens < CONTROL_LISTENS_MAX)
		c->listen_port[c->n_listens++] = (uint32_t)port; /* kept until there is a device */
	else
		err = -ENOSPC;
	if (err)
		send_err(c, m->id, 503, err, strerror(-err));
	else
		send_ok(c, m->id);
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
		send_err(c, m->id, 409, -EALREADY, "this vmm has booted already");
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
		send_err(c, m->id, boot_status(err), err, f.text[0] ? f.text : strerror(-err));
		ev_stop(c->loop);
		return;
	}
	c->built = true;
	ev_timer_del(c->loop, &c->lonely_timer);
	send_ok(c, m->id);
}

static void do_pause(struct control *c, const struct wire_msg *m)
{
	int err = c->built ? (m->type == V_PAUSE ? machine_pause(&c->m) : machine_resume(&c->m)) : -ENODEV;

	if (err && err != -EALREADY)
		send_err(c, m->id, err == -ENODEV ? 409 : 500, err, err == -ENODEV ? "nothing runs yet" : "a vCPU does not stop");
	else
		send_ok(c, m->id);
}

static void put_stat(struct control *c, const char *name, uint64_t v)
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
		put_stat(c, name, rows[j].v);
	}
}

static void do_stats(struct control *c, const struct wire_msg *m)
{
	struct machine *vm = booted(c);
	size_t mark = wire_begin(&c->out, WIRE_OK, m->id);
	uint64_t pio = 0, mmio = 0, other = 0, signals = 0, unclaimed = 0, kicks = 0, irqs = 0;

	for (unsigned i = 0; vm && i < vm->n_vcpus; i++) {
		pio += stats_get(&vm->vcpu[i].stats.pio);
		mmio += stats_get(&vm->vcpu[i].stats.mmio);
		other += stats_get(&vm->vcpu[i].stats.other);
		signals += stats_get(&vm->vcpu[i].stats.signals);
		unclaimed += stats_get(&vm->vcpu[i].stats.unclaimed);
	}
	put_stat(c, "exits.pio", pio);
	put_stat(c, "exits.mmio", mmio);
	put_stat(c, "exits.signal", signals);
	put_stat(c, "exits.other", other);
	put_stat(c, "unclaimed", unclaimed);
	for (unsigned i = 0; vm && i < vm->n_virtio; i++) {
		struct vdev_stats s = vdev_stats_get(vm->virtio[i].vdev);

		kicks += s.kicks;
		irqs += s.irqs;
		put_device_stats(c, i);
	}
	put_stat(c, "kicks", kicks);
	put_stat(c, "irqs", irqs);
	put_stat(c, "routes", vm ? vm->ioapic.route_changes : 0);
	put_stat(c, "console.bytes", vm ? vm->console.bytes : 0);
	put_stat(c, "console.lost", vm ? vm->console.lost_bytes : 0);
	put_stat(c, "vsock.streams", vm && vm->vsock ? vsock_streams(vm->vsock) : 0);
	send_out(c, mark, NULL, 0);
}

static void do_quit(struct control *c, const struct wire_msg *m)
{
	send_ok(c, m->id);
	if (c->built)
		machine_end(&c->m, REASON_KILLED, NULL, "ended by request");
	else
		ev_stop(c->loop);
}

static void do_request(struct control *c, const struct wire_msg *m, int *fds, unsigned n_fds)
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
	case V_QUIT:
		do_quit(c, m);
		break;
	default:
		send_err(c, m->id, 400, -ENOTSUP, "no such request");
		break;
	}
}

/* ---- the socket ---- */

static void on_chan(struct ev_io *io, uint32_t events)
{
	struct control *c = io->arg;
	int fds[WIRE_FDS_MAX], got = 0;
	unsigned n_fds;
	struct wire_msg m;

	if ((events & EPOLLOUT) && chan_flush(&c->chan) == -EPIPE) {
		drop_connection(c);
		return;
	}
	while (c->connected && (got = chan_recv(&c->chan, &m, fds, &n_fds)) > 0)
		do_request(c, &m, fds, n_fds);
	if (got < 0)
		drop_connection(c);
	if (c->connected)
		ev_mod(c->loop, &c->chan_io, chan_want(&c->chan));
}

static void on_listen(struct ev_io *io, uint32_t events)
{
	struct control *c = io->arg;
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	drop_connection(c); /* the newest wins: a restarted core adopts */
	if (chan_init(&c->chan, fd, QUEUE_MAX_BYTES)) {
		close(fd);
		return;
	}
	c->connected = true;
	c->generation++;
	if (ev_add(c->loop, &c->chan_io, c->chan.fd, EPOLLIN)) {
		drop_connection(c);
		return;
	}
	ev_timer_del(c->loop, &c->lonely_timer);
	send_hello(c);
}

int control_init(struct control *c, int listen_fd, int kvm_fd, struct fault *f)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->listen_fd = listen_fd;
	c->kvm_fd = kvm_fd;
	c->req.kernel_fd = c->req.initrd_fd = c->req.console_fd = c->req.report_fd = -1;
	c->listen_io = (struct ev_io){ .fn = on_listen, .arg = c, .fd = -1 };
	c->chan_io = (struct ev_io){ .fn = on_chan, .arg = c, .fd = -1 };
	c->note_io = (struct ev_io){ .fn = on_note, .arg = c, .fd = -1 };
	c->console_timer = (struct ev_timer){ .fn = on_console_timer, .arg = c };
	c->panic_timer = (struct ev_timer){ .fn = on_panic_timer, .arg = c };
	c->lonely_timer = (struct ev_timer){ .fn = on_lonely_timer, .arg = c };
	buf_init(&c->out, WIRE_PAYLOAD_MAX + WIRE_HEAD_BYTES);
	err = ev_new(&c->loop);
	if (!err)
		err = fd_set_nonblock(listen_fd, true);
	if (!err)
		err = ev_add(c->loop, &c->listen_io, listen_fd, EPOLLIN);
	if (!err)
		err = ev_timer_set(c->loop, &c->lonely_timer, LONELY_MS);
	return err ? fault_errno(f, err, "control socket") : 0;
}

int control_run(struct control *c)
{
	int err = ev_run(c->loop);

	if (!c->built) {
		if (c->connected)
			chan_flush(&c->chan);
		return 1;
	}
	if (err)
		machine_end(&c->m, REASON_VMM, NULL, "the event loop failed: %s", strerror(-err));
	say_goodbye(c);
	return 0;
}
