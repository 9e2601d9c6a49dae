/* One VM as a machine: logs, power, and the daemon's own end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/front/front.h"

#define LOG_LINES_DEFAULT 20u
#define LOG_BYTES_MAX (8u << 20) /* most of a log in one answer: its end */

/* ---- logs ---- */

/* The last `lines` lines of p (0: all); *count says how many there are in the result. */
static const char *last_lines(const char *p, size_t n, uint64_t lines, uint64_t *count)
{
	size_t at = n;

	*count = 0;
	while (at > 0) {
		size_t from = at - 1; /* the newline that ends this line, or its last byte */

		while (from > 0 && p[from - 1] != '\n')
			from--;
		at = from;
		if (++*count == lines)
			break;
	}
	return p + at;
}

static void log_reply(struct req *r, int fd, uint64_t lines)
{
	struct stat st;
	struct json_out o;
	struct buf b;
	uint64_t count, size;
	const char *from;
	char *text;
	ssize_t n;

	if (fstat(fd, &st) || st.st_size < 0) {
		reply_error(r, 500, "the console log cannot be read");
		return;
	}
	size = (uint64_t)st.st_size > LOG_BYTES_MAX ? LOG_BYTES_MAX : (uint64_t)st.st_size;
	text = malloc(size + 1);
	n = text ? pread_full(fd, text, size, (uint64_t)st.st_size - size) : -ENOMEM;
	if (n < 0) {
		free(text);
		reply_error(r, 500, "the console log cannot be read: %s", strerror((int)-n));
		return;
	}
	from = last_lines(text, (size_t)n, lines, &count);
	buf_init(&b, OUT_BYTES_MAX);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "hostname", r->vars[0]);
	json_put_u64(&o, "lines", count);
	json_put_strn(&o, "content", from, (size_t)(text + n - from));
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
	free(text);
}

static void logs_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	uint64_t lines = LOG_LINES_DEFAULT;

	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	if (n_fds < 1) {
		reply_error(r, 500, "core sent no log");
		return;
	}
	if (param(r, "lines"))
		parse_u64(param(r, "lines"), UINT32_MAX, &lines); /* checked before core was asked */
	log_reply(r, fds[0], lines);
}

void h_logs(struct req *r)
{
	const char *vm = vm_name(r);
	uint64_t lines;

	if (!vm)
		return;
	if (param(r, "lines") && parse_u64(param(r, "lines"), UINT32_MAX, &lines)) {
		reply_error(r, 400, "lines must be a number; 0 means the whole log");
		return;
	}
	wire_str(ask_begin(r, C_LOGS), C_T_VM, vm);
	ask_send(r, logs_answer);
}

/* ---- power ---- */

/* What core said, as text; "done" when it said nothing. */
static void text_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	char text[1024] = "done";

	(void)fds;
	(void)n_fds;
	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	wire_get_str(m, C_T_TEXT, text, sizeof(text));
	reply_text(r, 200, text);
}

/* The action stands in the query (Go) or in the body (TypeScript); absent means reboot, which stops the VM. */
void h_shutdown(struct req *r)
{
	const char *vm = vm_name(r), *action = param(r, "action");
	struct json j = { 0 };
	struct buf *b;

	if (!vm || !body_json(r, &j))
		return;
	if (!action && json_get_str(json_root(&j), "action", &action) == -EINVAL)
		action = "?";
	if (!action || !*action)
		action = "reboot";
	if (strcmp(action, "shutdown") != 0 && strcmp(action, "reboot") != 0) {
		reply_error(r, 400, "action must be shutdown or reboot");
	} else {
		b = ask_begin(r, C_SHUTDOWN);
		wire_str(b, C_T_VM, vm);
		wire_str(b, C_T_ACTION, action);
		ask_send(r, text_answer);
	}
	json_done(&j);
}

static void ask_vm(struct req *r, uint16_t type)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	wire_str(ask_begin(r, type), C_T_VM, vm);
	ask_send(r, text_answer);
}

void h_pause(struct req *r)
{
	ask_vm(r, C_PAUSE);
}

void h_resume(struct req *r)
{
	ask_vm(r, C_RESUME);
}

static void daemon_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds;
	(void)n_fds;
	if (m->type == WIRE_OK)
		reply_empty(r, 202);
	else
		reply_refusal(r, m);
}

void h_daemon_shutdown(struct req *r)
{
	ask_begin(r, C_DAEMON_SHUTDOWN);
	ask_send(r, daemon_answer);
}
