/* GET /vm/{}/net/log: a VM's network record as it stands in its files, NDJSON; with follow what comes after it too. Core hands the files over. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/front/front.h"

#define FILES_MAX 8u
#define CHUNK_BYTES 32768u
#define TURN_CHUNKS 8u   /* so that one reader of a long record cannot keep the loop */
#define SOON_MS 5u       /* more stands there: the others first */
#define FOLLOW_MS 300u
#define LOOK_MS 2000u    /* how often core is asked for newer files */

struct log {
	struct req *req;    /* borrowed: frees this first */
	struct ev_loop *loop;
	struct ev_timer timer;
	int fds[FILES_MAX]; /* owned, oldest first */
	unsigned n, at;
	uint64_t pos;       /* in fds[at] */
	bool follow;
	uint64_t look_ms;
};

static void files_close(struct log *l)
{
	while (l->n)
		fd_close(&l->fds[--l->n]);
}

static void log_free(void *state)
{
	struct log *l = state;

	ev_timer_del(l->loop, &l->timer);
	files_close(l);
	free(l);
}

/* ---- where to begin ---- */

/* Where the last `lines` lines of the file begin; *lines becomes what is missing. */
static uint64_t lines_back(int fd, uint64_t *lines)
{
	static char chunk[CHUNK_BYTES];
	struct stat st;
	uint64_t end = fstat(fd, &st) || st.st_size < 0 ? 0 : (uint64_t)st.st_size, last = end;

	while (end && *lines) { /* as long as the file: it is rotated */
		size_t n = end < sizeof(chunk) ? (size_t)end : sizeof(chunk);

		if (pread_full(fd, chunk, n, end - n) != (ssize_t)n)
			return 0;
		while (n && *lines) {
			n--;
			end--;
			if (chunk[n] == '\n' && end + 1 != last && --*lines == 0)
				return end + 1;
		}
	}
	if (last)
		--*lines;
	return 0;
}

static void begin_at(struct log *l, uint64_t lines)
{
	l->at = l->n - 1;
	l->pos = lines_back(l->fds[l->at], &lines);
	while (lines && l->at) {
		l->at--;
		l->pos = lines_back(l->fds[l->at], &lines);
	}
}

/* ---- newer files ---- */

static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void take_files(struct log *l, int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds && l->n < FILES_MAX; i++) {
		l->fds[l->n++] = fds[i];
		fds[i] = -1;
	}
}

/* The file in hand is among them, or was rotated away meanwhile. */
static void newer_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct log *l = r->state;
	unsigned i = 0;

	if (m->type != WIRE_OK) { /* the VM is gone: its record is over */
		req_end(r);
		return;
	}
	while (i < n_fds && !same_file(fds[i], l->fds[l->at]))
		i++;
	if (i == n_fds)
		i = 0;
	else if (i + 1 == n_fds)
		return;
	else
		i++;
	files_close(l);
	take_files(l, fds + i, n_fds - i);
	l->at = 0;
	l->pos = 0;
}

static void look_for_newer(struct log *l, uint64_t now_ms)
{
	if (l->req->ask_id || now_ms < l->look_ms)
		return;
	l->look_ms = now_ms + LOOK_MS;
	wire_str(ask_begin(l->req, C_NET_LOG), C_T_VM, l->req->vars[0]);
	ask_send(l->req, newer_answer);
}

/* ---- the stream ---- */

/* One piece of what there is: 1; 0 nothing more in these files; or -errno. */
static int send_piece(struct log *l)
{
	static char chunk[CHUNK_BYTES];
	ssize_t n = 0;

	while (l->at < l->n && !(n = pread(l->fds[l->at], chunk, sizeof(chunk), (off_t)l->pos))) {
		if (l->at + 1 == l->n)
			return 0;
		l->at++;
		l->pos = 0;
	}
	if (n < 0)
		return -errno;
	l->pos += (uint64_t)n;
	reply_data(l->req, chunk, (size_t)n);
	return 1;
}

static void go_on(struct log *l)
{
	struct req *r = l->req;
	int more = 1;

	for (unsigned i = 0; more == 1 && i < TURN_CHUNKS && !conn_out_full(r->conn); i++)
		more = send_piece(l);
	if (more < 0 || (!more && !l->follow)) {
		req_end(r);
		return;
	}
	if (!more)
		look_for_newer(l, now_mono_ms());
	if (!r->ended)
		ev_timer_set(l->loop, &l->timer, more ? SOON_MS : FOLLOW_MS);
}

static void on_timer(struct ev_timer *t)
{
	struct log *l = t->arg;
	struct conn *c = l->req->conn;

	go_on(l);
	conn_settle(c);
}

static void log_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct log *l = r->state;
	uint64_t lines = 0;

	if (m->type != WIRE_OK || !n_fds) {
		reply_refusal(r, m);
		return;
	}
	take_files(l, fds, n_fds);
	l->look_ms = now_mono_ms() + LOOK_MS;
	if (param(r, "lines") && !parse_u64(param(r, "lines"), UINT32_MAX, &lines) && lines) /* checked before core was asked */
		begin_at(l, lines);
	reply_begin(r, 200, "application/x-ndjson");
	reply_stream(r);
	go_on(l);
}

void h_net_log(struct req *r)
{
	const char *vm = vm_name(r);
	struct log *l;
	uint64_t lines;

	if (!vm)
		return;
	if (param(r, "lines") && parse_u64(param(r, "lines"), UINT32_MAX, &lines)) {
		reply_error(r, 400, "lines must be a number; 0 means the whole record");
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		reply_error(r, 503, "out of memory; try again");
		return;
	}
	*l = (struct log){ .req = r, .loop = r->conn->front->loop, .timer = { .fn = on_timer, .arg = l }, .follow = param_is_true(r, "follow") };
	r->state = l;
	r->state_done = log_free;
	r->with_client = true;
	wire_str(ask_begin(r, C_NET_LOG), C_T_VM, vm);
	ask_send(r, log_answer);
}
