#include "agent/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* An event held back until its debounce is over. */
struct pending {
	uint64_t due_ms, time_ns;
	unsigned kind;
	bool is_dir;
	char *path; /* owned */
};
struct watch {
	struct job *j;
	struct watch_ask ask;
	struct watch_tree tree;
	struct pending *held; /* owned: in order of due_ms, which all wait equally long for */
	size_t n_held;
	uint64_t last_id;
	const char *end;      /* why it ends; NULL: it goes on */
	bool lost;            /* the host is gone */
};

static void send_event(struct watch *w, unsigned kind, const char *path, uint64_t time_ns, bool is_dir, const char *text)
{
	struct stat st;
	struct buf *b = &w->j->out;
	uint64_t size = 0;
	if (w->end || w->lost)
		return;
	if (kind != WATCH_REMOVE && kind != WATCH_RENAME && kind != WATCH_OVERFLOW && lstat(path, &st) == 0) {
		size = (uint64_t)st.st_size;
		is_dir = S_ISDIR(st.st_mode);
	}
	size_t mark = wire_begin(b, A_FS_EVENT, w->j->req->id);
	wire_u64(b, A_T_FRAME_ID, ++w->last_id);
	wire_str(b, A_T_EVENT, watch_kind_name(kind));
	wire_str(b, A_T_PATH, path);
	wire_u64(b, A_T_TIME_NS, time_ns);
	wire_u64(b, A_T_SIZE, size);
	wire_u64(b, A_T_IS_DIR, is_dir);
	wire_str(b, WIRE_T_TEXT, text);
	wire_end(b, mark);
	if (w->last_id == w->ask.max_events)
		w->end = w->ask.max_events == 1 ? "one event was asked for" : "as many events as asked for";
	if ((buf_len(b) > FRAME_MAX / 2 || w->end) && job_send(w->j) < 0)
		w->lost = true;
}

/* ---- debounce ---- */

static void release(struct watch *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct pending *p = &w->held[i];
		send_event(w, p->kind, p->path, p->time_ns, p->is_dir, NULL);
		free(p->path);
	}
	w->n_held -= n;
	memmove(w->held, w->held + n, w->n_held * sizeof *w->held);
}

static void release_due(struct watch *w, uint64_t now_ms)
{
	size_t n = 0;
	while (n < w->n_held && w->held[n].due_ms <= now_ms)
		n++;
	if (n)
		release(w, n);
}

static void hold(struct watch *w, unsigned kind, const char *path, bool is_dir)
{
	struct pending *p = w->held;
	for (; p < w->held + w->n_held; p++) {
		if (p->kind == kind && strcmp(p->path, path) == 0) {
			p->time_ns = now_real_ns();
			return;
		}
	}
	if (w->n_held == WATCH_PENDING_MAX) /* too much to hold back: early rather than never */
		release(w, WATCH_PENDING_MAX / 2);
	char *copy = strdup(path);
	if (!copy) {
		send_event(w, kind, path, now_real_ns(), is_dir, NULL);
		return;
	}
	w->held[w->n_held++] = (struct pending){.due_ms = now_mono_ms() + w->ask.debounce_ms, .time_ns = now_real_ns(), .kind = kind,
						.is_dir = is_dir, .path = copy};
}

static void happened(struct watch *w, unsigned kind, const char *path, bool is_dir)
{
	if (!watch_wants(&w->ask, kind, path))
		return;
	if (w->ask.debounce_ms)
		hold(w, kind, path, is_dir);
	else
		send_event(w, kind, path, now_real_ns(), is_dir, NULL);
}

static void on_new(void *arg, const char *path, bool is_dir)
{
	happened(arg, WATCH_CREATE, path, is_dir);
}

/* ---- inotify ---- */

static void overflow(struct watch *w, const char *path, const char *text)
{
	send_event(w, WATCH_OVERFLOW, path, now_real_ns(), false, text);
}

static void keep_up(struct watch *w, uint32_t mask, const char *path)
{
	if (!w->ask.recursive || !(mask & IN_ISDIR))
		return;
	if (mask & IN_MOVED_FROM)
		watch_tree_shrink(&w->tree, path);
	if ((mask & (IN_CREATE | IN_MOVED_TO)) && watch_tree_grow(&w->tree, path, (mask & IN_CREATE) != 0) < 0)
		overflow(w, path, "more folders than can be watched: what happens in some of them is not seen");
}

/* Folders that appeared while events were dropped are watched from now on. */
static void catch_up(struct watch *w)
{
	char path[PATH_MAX];
	struct fault f;
	overflow(w, w->ask.paths[0], "more happened than could be followed: events were lost");
	for (size_t i = 0; w->ask.recursive && i < w->ask.n_paths; i++) {
		strcpy(path, w->ask.paths[i]); /* resolved ones: they fit */
		(void)watch_tree_root(&w->tree, path, &f);
	}
}

static void one_event(struct watch *w, const struct inotify_event *e, const char *name)
{
	char path[PATH_MAX];
	if (e->mask & IN_Q_OVERFLOW) {
		catch_up(w);
		return;
	}
	const struct watch_node *x = watch_tree_find(&w->tree, e->wd, name, path);
	if (e->mask & IN_IGNORED) {
		watch_tree_gone(&w->tree, e->wd);
		if (w->tree.n == 0 && !w->end) {
			release(w, w->n_held);
			w->end = "nothing is left to watch";
		}
		return;
	}
	if (!x || (x->only && !name[0]))
		return;
	bool is_dir = (e->mask & IN_ISDIR) != 0;
	if ((e->mask & (IN_CREATE | IN_MOVED_TO)) && watch_tree_said(&w->tree, path))
		return; /* and, a folder, it is watched since */
	if (e->mask & (IN_CREATE | IN_MOVED_TO))
		happened(w, WATCH_CREATE, path, is_dir);
	if (e->mask & IN_MODIFY)
		happened(w, WATCH_WRITE, path, is_dir);
	if (e->mask & IN_ATTRIB)
		happened(w, WATCH_CHMOD, path, is_dir);
	if (e->mask & (IN_MOVED_FROM | IN_MOVE_SELF))
		happened(w, WATCH_RENAME, path, is_dir);
	if (e->mask & (IN_DELETE | IN_DELETE_SELF))
		happened(w, WATCH_REMOVE, path, is_dir || !name[0]);
	keep_up(w, e->mask, path);
}

/* Everything the kernel has for us now. */
static int drain(struct watch *w)
{
	_Alignas(struct inotify_event) char mem[16384];
	for (;;) {
		ssize_t n = read(w->tree.fd, mem, sizeof mem);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (ssize_t at = 0; at < n && !w->end && !w->lost;) {
			const struct inotify_event *e = (const void *)(mem + at);
			one_event(w, e, e->len ? e->name : "");
			at += (ssize_t)(sizeof *e + e->len);
		}
		if (w->end || w->lost)
			return 0;
		release_due(w, now_mono_ms());
	}
	buf_clear(&w->tree.found); /* all that happened before the scans has been read */
	return 0;
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_due(const struct watch *w, uint64_t end_ms)
{
	uint64_t now = now_mono_ms(), due = w->n_held ? w->held[0].due_ms : UINT64_MAX;
	if (end_ms < due)
		due = end_ms;
	return due == UINT64_MAX ? -1 : due <= now ? 0 : due - now > 60000 ? 60000 : (int)(due - now);
}

static int run(struct watch *w)
{
	char dropped[512];
	uint64_t end_ms = UINT64_MAX;
	if (w->ask.timeout_ms && add_overflows_u64(now_mono_ms(), w->ask.timeout_ms, &end_ms))
		end_ms = UINT64_MAX;
	while (!w->end && !w->lost) {
		struct pollfd p[2] = {{.fd = w->tree.fd, .events = POLLIN}, {.fd = w->j->fd, .events = POLLIN | POLLRDHUP}};
		if (poll(p, 2, next_due(w, end_ms)) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents && read(w->j->fd, dropped, sizeof dropped) <= 0) {
			w->lost = true;
			break;
		}
		int rc = p[0].revents ? drain(w) : 0;
		if (rc < 0)
			return rc;
		release_due(w, now_mono_ms());
		if (!w->end && now_mono_ms() >= end_ms) {
			release(w, w->n_held);
			if (!w->end)
				w->end = "the time is over";
		}
		if (buf_len(&w->j->out) && !w->lost && job_send(w->j) < 0)
			w->lost = true;
	}
	return 0;
}

/* ---- the request ---- */

static int begin(struct watch *w, struct fault *f)
{
	struct wire_field there;
	struct who who;
	struct job *j = w->j;
	int rc = who_asked(&who, j->a, j->req, DEFAULT_UID, f);
	if (rc == 0)
		rc = watch_ask_read(&w->ask, j->req, f);
	if (rc < 0)
		return rc;
	if (wire_get(j->req, A_T_UID, &there) && j->a->root && (rc = who_become(&who)) < 0)
		return fault_errno(f, rc, "cannot become that user");
	w->held = w->ask.debounce_ms ? calloc(WATCH_PENDING_MAX, sizeof *w->held) : NULL;
	if (w->ask.debounce_ms && !w->held)
		return -ENOMEM;
	if ((rc = watch_tree_init(&w->tree, w->ask.kinds, w->ask.recursive)) < 0)
		return fault_errno(f, rc, "the guest's kernel gives no more watches");
	w->tree.on_new = on_new;
	w->tree.arg = w;
	for (size_t i = 0; i < w->ask.n_paths; i++) {
		char *path = malloc(PATH_MAX); /* lives as long as this process */
		if (!path)
			return -ENOMEM;
		if ((rc = path_resolve(w->ask.paths[i], &who, path, f)) < 0)
			return rc;
		size_t n = strlen(path);
		while (n > 1 && path[n - 1] == '/')
			path[--n] = '\0';
		w->ask.paths[i] = path;
		if ((rc = watch_tree_root(&w->tree, path, f)) < 0)
			return rc;
	}
	return 0;
}

void fs_watch(struct job *j)
{
	struct fault f = {.text = ""};
	struct watch *w = calloc(1, sizeof *w);
	int rc = -ENOMEM;
	if (w) {
		w->j = j;
		rc = begin(w, &f);
	}
	if (rc == 0) {
		job_ok(j);
		rc = run(w);
	}
	if (rc < 0) {
		job_refuse(j, rc, &f);
	} else if (!w->lost) {
		size_t mark = wire_begin(&j->out, WIRE_OK, j->req->id);
		wire_str(&j->out, WIRE_T_TEXT, w->end);
		wire_end(&j->out, mark);
		(void)job_send(j);
	}
}
