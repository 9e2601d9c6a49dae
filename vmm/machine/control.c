#include "vmm/machine/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX_BYTES (1u << 20)
#define CONSOLE_DELAY_MS 50u  /* how long a line without an end waits */
#define PANIC_DELAY_MS 500u   /* how long a guest that said it panicked may go on talking */
#define LONELY_MS 60000u      /* a vmm that nobody boots ends */
#define GOODBYE_MS 1000

/* ---- sending ---- */

static void drop_connection(struct control *c)
{
	if (!c->connected)
		return;
	ev_del(c->loop, &c->chan_io);
	chan_done(&c->chan);
	c->connected = false;
	if (c->built && c->req.ephemeral)
		machine_end(&c->m, REASON_KILLED, NULL, "core went away");
	if (!c->built)
		ev_timer_set(c->loop, &c->lonely_timer, LONELY_MS);
}

void control_send(struct control *c, size_t mark, const int *fds, unsigned n_fds)
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

void control_ok(struct control *c, uint32_t id)
{
	control_send(c, wire_begin(&c->out, WIRE_OK, id), NULL, 0);
}

void control_err(struct control *c, uint32_t id, uint64_t status, int err, const char *text)
{
	size_t mark = wire_begin(&c->out, WIRE_ERR, id);

	wire_u64(&c->out, WIRE_T_STATUS, status);
	wire_str(&c->out, WIRE_T_TEXT, text);
	wire_u64(&c->out, WIRE_T_ERRNO, (uint64_t)-err);
	control_send(c, mark, NULL, 0);
}

static void send_hello(struct control *c)
{
	static const char *const states[] = { "new", "running", "paused", "running" };
	size_t mark = wire_begin(&c->out, V_HELLO, 0);

	wire_str(&c->out, V_T_VERSION, MICA_VERSION);
	wire_str(&c->out, V_T_STATE, c->built ? states[atomic_load(&c->m.state)] : "new");
	control_send(c, mark, NULL, 0);
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
	control_send(c, mark, NULL, 0);
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

/* What core does not know yet. */
static void tell_disks(struct control *c)
{
	for (unsigned i = 0; c->built && i < c->m.n_disks && c->connected; i++) {
		int err = blk_trouble(c->m.disk[i].blk);
		size_t mark;

		if (!err == !c->disk_errno[i])
			continue;
		c->disk_errno[i] = err;
		mark = wire_begin(&c->out, V_DISK, 0);
		wire_u64(&c->out, V_T_DISK_INDEX, i);
		wire_u64(&c->out, V_T_DISK_ERRNO, (uint64_t)err);
		control_send(c, mark, NULL, 0);
	}
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
	if (atomic_exchange(&c->m.disk_news, false))
		tell_disks(c);
	if (atomic_load(&c->m.panicked) && !c->panic_timer.slot)
		ev_timer_set(c->loop, &c->panic_timer, PANIC_DELAY_MS);
}

/* ---- the socket ---- */

static void on_chan(struct ev_io *io, uint32_t events)
{
	struct control *c = io->arg;
	int fds[WIRE_FDS_MAX], got = 0;
	unsigned n_fds;
	struct wire_msg m;

	if ((events & EPOLLOUT) && chan_stuck(&c->chan)) {
		drop_connection(c);
		return;
	}
	while (c->connected && (got = chan_recv(&c->chan, &m, fds, &n_fds)) > 0)
		control_do(c, &m, fds, n_fds);
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
	if (chan_init(&c->chan, fd, QUEUE_MAX_BYTES))
		return; /* it has closed fd */
	c->connected = true;
	c->generation++;
	if (ev_add(c->loop, &c->chan_io, c->chan.fd, EPOLLIN)) {
		drop_connection(c);
		return;
	}
	ev_timer_del(c->loop, &c->lonely_timer);
	send_hello(c);
	memset(c->disk_errno, 0, sizeof(c->disk_errno));
	tell_disks(c);
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
