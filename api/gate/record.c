/* The record: lines gather in memory and are appended a few times a second. What cannot be written is counted and told, in the record too. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/gate/gate.h"
#include "lib/json/json.h"

#define FLUSH_BYTES (32u << 10)
#define RETRY_MS 1000u
#define ROTATE_RETRY_MS 10000u

/* ---- a line ---- */

static void put_proto(struct json_out *o, const struct nf_tuple *t)
{
	static const struct { uint8_t proto; const char *text; } known[] = {
		{ 6, "tcp" }, { 17, "udp" }, { 1, "icmp" }, { 58, "icmp6" }, { 132, "sctp" }, { 47, "gre" }, { 50, "esp" },
	};
	char text[8];

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].proto == t->proto) {
			json_put_str(o, "proto", known[i].text);
			return;
		}
	snprintf(text, sizeof(text), "%u", t->proto);
	json_put_str(o, "proto", text);
}

static void put_tuple(struct json_out *o, const struct nf_tuple *t)
{
	char text[POLICY_ADDR_TEXT_MAX];
	bool icmp = t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6;

	if (t->proto) {
		put_proto(o, t);
		policy_addr_format(t->family, t->src, text);
		json_put_str(o, "src", text);
	}
	policy_addr_format(t->family, t->dst, text);
	json_put_str(o, "dst", text);
	if (icmp)
		json_put_u64(o, "icmp_type", t->dport >> 8);
	else if (t->sport || t->dport) {
		json_put_u64(o, "sport", t->sport);
		json_put_u64(o, "dport", t->dport);
	}
}

static void put_line(struct vm *vm, const struct record_line *l)
{
	bool ended = strcmp(l->event, "end") == 0;
	struct record *r = &vm->record;
	char time[RFC3339_MAX];
	struct json_out o;

	rfc3339_format(l->real_ns ? l->real_ns : now_real_ns(), time);
	json_out_init(&o, &r->out);
	json_obj(&o, NULL);
	json_put_str(&o, "time", time);
	json_put_str(&o, "vm", vm->name);
	json_put_str(&o, "event", l->event);
	if (l->qtype)
		json_put_str(&o, "qtype", l->qtype);
	if (l->t)
		put_tuple(&o, l->t);
	if (l->name)
		json_put_str(&o, "name", l->name);
	json_put_str(&o, "rule", l->rule);
	json_put_str(&o, "verdict", l->allowed ? "allowed" : "denied");
	if (l->note)
		json_put_str(&o, "note", l->note);
	if (l->bytes_out || (ended && !l->note)) /* a note: they are not known */
		json_put_u64(&o, "bytes_out", l->bytes_out);
	if (ended && !l->note)
		json_put_u64(&o, "bytes_in", l->bytes_in);
	if (ended)
		json_put_u64(&o, "duration_ms", l->duration_ms);
	json_end(&o);
	buf_add(&r->out, "\n", 1);
}

static void put_gap(struct vm *vm)
{
	struct record *r = &vm->record;
	char time[RFC3339_MAX];
	struct json_out o;

	rfc3339_format(now_real_ns(), time);
	json_out_init(&o, &r->out);
	json_obj(&o, NULL);
	json_put_str(&o, "time", time);
	json_put_str(&o, "vm", vm->name);
	json_put_str(&o, "event", "gap");
	json_put_u64(&o, "lost", r->gap);
	json_put_str(&o, "why", r->gap_why);
	json_end(&o);
	buf_add(&r->out, "\n", 1);
	r->gap = 0;
}

/* Room for a line of any of ours? */
static bool has_room(const struct record *r)
{
	return buf_len(&r->out) + 8192 < r->out.max;
}

void record_lost(struct vm *vm, uint64_t n, const char *why)
{
	struct record *r = &vm->record;

	r->lost += n;
	r->gap += n;
	snprintf(r->gap_why, sizeof(r->gap_why), "%s", why);
}

void record_write(struct vm *vm, const struct record_line *l)
{
	struct record *r = &vm->record;

	if (r->fd < 0) {
		r->lost++;
		return;
	}
	if (!has_room(r)) {
		record_lost(vm, 1, r->trouble ? "the record could not be written" : "more than could be written");
		return;
	}
	if (r->gap)
		put_gap(vm);
	put_line(vm, l);
	if (buf_len(&r->out) >= FLUSH_BYTES && !r->trouble)
		record_flush(vm, now_mono_ms());
}

/* ---- the file ---- */

static void tell_trouble(struct vm *vm, int positive_errno)
{
	struct buf *b;

	if (vm->record.trouble == positive_errno)
		return;
	vm->record.trouble = positive_errno;
	b = link_begin(vm->gate, G_TROUBLE);
	wire_str(b, G_T_VM, vm->name);
	wire_u64(b, G_T_ERRNO, (uint64_t)positive_errno);
	wire_u64(b, G_T_LOST, vm->record.lost);
	link_send(vm->gate);
}

static void on_rotated(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	vm->record.rotating = false;
	vm->record.rotate_ms = now_mono_ms() + ROTATE_RETRY_MS;
	if (!m || m->type != WIRE_OK || n_fds != 1)
		return;
	record_start(vm, fds[0]);
	fds[0] = -1;
}

static void rotate(struct vm *vm, uint64_t now_ms)
{
	struct record *r = &vm->record;

	if (r->rotating || now_ms < r->rotate_ms)
		return;
	wire_str(link_begin(vm->gate, G_ROTATE), G_T_VM, vm->name);
	r->rotating = link_call(vm->gate, on_rotated, vm) == 0;
	r->rotate_ms = now_ms + ROTATE_RETRY_MS;
}

/* 0, or positive errno. */
static int write_some(struct record *r)
{
	while (buf_len(&r->out)) {
		ssize_t n = write(r->fd, buf_data(&r->out), buf_len(&r->out));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		r->mid_line = buf_data(&r->out)[n - 1] != '\n';
		r->file_bytes += (uint64_t)n;
		buf_eat(&r->out, (size_t)n);
	}
	return 0;
}

void record_flush(struct vm *vm, uint64_t now_ms)
{
	struct record *r = &vm->record;
	int err;

	if (r->fd < 0 || (r->trouble && now_ms < r->retry_ms))
		return;
	if (r->gap && has_room(r))
		put_gap(vm);
	if (!buf_len(&r->out))
		return;
	err = write_some(r);
	if (err)
		r->retry_ms = now_ms + RETRY_MS;
	tell_trouble(vm, err);
	if (!err && r->file_bytes >= r->rotate_bytes)
		rotate(vm, now_ms);
}

/* A line that was begun in the old file does not go on in the new one. */
static void drop_rest(struct vm *vm)
{
	struct record *r = &vm->record;
	const uint8_t *nl = r->mid_line && buf_len(&r->out) ? memchr(buf_data(&r->out), '\n', buf_len(&r->out)) : NULL;

	if (nl) {
		buf_eat(&r->out, (size_t)(nl - buf_data(&r->out)) + 1);
		record_lost(vm, 1, "a line was cut by a change of files");
	}
	r->mid_line = false;
}

void record_start(struct vm *vm, int fd_taken)
{
	struct record *r = &vm->record;
	struct stat st;

	if (r->fd >= 0)
		drop_rest(vm);
	fd_close(&r->fd);
	r->fd = fd_taken;
	r->file_bytes = fstat(fd_taken, &st) ? 0 : (uint64_t)st.st_size;
	r->retry_ms = 0;
	record_flush(vm, now_mono_ms());
}

void record_stop(struct vm *vm)
{
	struct record *r = &vm->record;

	r->retry_ms = 0;
	record_flush(vm, now_mono_ms());
	fd_close(&r->fd);
	buf_done(&r->out);
}
