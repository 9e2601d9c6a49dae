#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/addr.h"
#include "api/core/record.h"
#include "api/core/secrets.h"

void record_done(struct record *r)
{
	for (unsigned i = 0; i < r->n_tags; i++)
		free(r->tags[i]);
	free(r->fault);
	free(r->secrets);
	free(r->allow);
	free(r->drop);
	free(r->publish);
	memset(r, 0, sizeof(*r));
}

bool tag_is_valid(const char *s, size_t n)
{
	if (!n || n > TAG_MAX || !utf8_is_valid(s, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return true;
}

bool record_has_tag(const struct record *r, const char *tag)
{
	for (unsigned i = 0; i < r->n_tags; i++)
		if (strcmp(r->tags[i], tag) == 0)
			return true;
	return false;
}

int record_add_tag(struct record *r, const char *tag)
{
	if (!tag_is_valid(tag, strlen(tag)))
		return -EINVAL;
	if (record_has_tag(r, tag))
		return 0;
	if (r->n_tags == TAGS_MAX)
		return -ENOSPC;
	r->tags[r->n_tags] = strdup(tag);
	if (!r->tags[r->n_tags])
		return -ENOMEM;
	r->n_tags++;
	return 0;
}

void record_drop_tag(struct record *r, const char *tag)
{
	for (unsigned i = 0; i < r->n_tags; i++)
		if (strcmp(r->tags[i], tag) == 0) {
			free(r->tags[i]);
			memmove(&r->tags[i], &r->tags[i + 1], (r->n_tags - i - 1) * sizeof(r->tags[0]));
			r->n_tags--;
			return;
		}
}

bool record_may_have(const struct record *r, const char *secret)
{
	size_t n = strlen(secret);

	if (!r->secrets)
		return true;
	for (const char *p = r->secrets; *p;) {
		size_t len = strcspn(p, " ");

		if (len == n && memcmp(p, secret, n) == 0)
			return true;
		p += len + (p[len] == ' ');
	}
	return false;
}

/* Names with one blank between each two; "" is none. */
static bool names_are_valid(const char *s)
{
	char name[SECRET_NAME_MAX + 1];
	unsigned count = 0;

	while (*s) {
		size_t n = strcspn(s, " ");

		if (n > SECRET_NAME_MAX || ++count > SECRETS_MAX)
			return false;
		memcpy(name, s, n);
		name[n] = 0;
		if (!secret_name_is_valid(name) || (s[n] && !s[n + 1]))
			return false;
		s += n + (s[n] == ' ');
	}
	return true;
}

/* ---- the keys, one row each ---- */

enum field { F_NAME, F_STR, F_TEXT, F_SECRETS, F_LINES, F_UINT, F_U64, F_BOOL, F_MAC, F_IP, F_TAG };
struct row {
	const char *key;
	enum field kind;
	size_t at;
	uint64_t max; /* F_STR: bytes with NUL; numbers: largest value */
	bool needed;
};
#define AT(f) offsetof(struct record, f)
#define LINES_MAX 12288u
static const struct row rows[] = {
	{ "name", F_NAME, AT(name), VM_NAME_MAX, true },
	{ "group", F_NAME, AT(group), VM_NAME_MAX, true },
	{ "slot", F_UINT, AT(slot), 65535, true },
	{ "ip", F_IP, AT(ip), 0, true },
	{ "mac", F_MAC, AT(mac), 0, true },
	{ "ram_bytes", F_U64, AT(ram_bytes), UINT64_MAX, true },
	{ "disk_bytes", F_U64, AT(disk_bytes), INT64_MAX, true },
	{ "created_ns", F_U64, AT(created_ns), UINT64_MAX, true },
	{ "vcpus", F_UINT, AT(vcpus), 255, true },
	{ "persistent", F_BOOL, AT(persistent), 0, true },
	{ "protected", F_BOOL, AT(protected_), 0, true },
	{ "userdata", F_BOOL, AT(userdata), 0, true },
	{ "image", F_STR, AT(image), 256, true },
	{ "token", F_STR, AT(token), sizeof(((struct record *)0)->token), false },
	{ "tag", F_TAG, 0, 0, false },
	{ "fault", F_TEXT, AT(fault), FAULT_MAX, false },
	{ "secrets", F_SECRETS, AT(secrets), 0, false },
	{ "base", F_STR, AT(base), sizeof(((struct record *)0)->base), false },
	{ "parent", F_STR, AT(parent), sizeof(((struct record *)0)->parent), false },
	{ "fixups", F_UINT, AT(fixups), 15, false },
	{ "machine_id", F_STR, AT(machine_id), sizeof(((struct record *)0)->machine_id), false },
	{ "guest_name", F_NAME, AT(guest_name), VM_NAME_MAX, false },
	{ "target", F_STR, AT(target), sizeof(((struct record *)0)->target), false },
	{ "target_bytes", F_U64, AT(target_bytes), INT64_MAX, false },
	{ "allow", F_LINES, AT(allow), LINES_MAX, false },
	{ "drop", F_LINES, AT(drop), LINES_MAX, false },
	{ "publish", F_LINES, AT(publish), LINES_MAX, false },
	{ "net_bytes_s", F_U64, AT(net_bytes_s), NET_RATE_MAX, false },
	{ "net_packets_s", F_U64, AT(net_packets_s), NET_RATE_MAX, false },
};
#define HEAD "mica-vm=1\n"
#define HEAD_ANY "mica-vm="
#define END "end=1\n"

static void put_text(struct buf *b, const char *key, const char *s)
{
	buf_printf(b, "%s=", key);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '\n')
			buf_adds(b, "\\n");
		else if (c == '\\')
			buf_adds(b, "\\\\");
		else if (c < 0x20 || c == 0x7f)
			buf_printf(b, "\\x%02x", c);
		else
			buf_add(b, s, 1);
	}
	buf_adds(b, "\n");
}

static void put_row(const struct record *r, const struct row *row, struct buf *b)
{
	const char *at = (const char *)r + row->at;
	char mac[MAC_TEXT_MAX];

	switch (row->kind) {
	case F_NAME: case F_STR: case F_IP:
		if (row->needed || *at)
			put_text(b, row->key, at);
		break;
	case F_TEXT:
		if (r->fault)
			put_text(b, row->key, r->fault);
		break;
	case F_SECRETS:
		if (r->secrets)
			put_text(b, row->key, r->secrets);
		break;
	case F_LINES:
		if (*(char *const *)(const void *)at)
			put_text(b, row->key, *(char *const *)(const void *)at);
		break;
	case F_UINT:
		if (row->needed || *(const unsigned *)(const void *)at)
			buf_printf(b, "%s=%u\n", row->key, *(const unsigned *)(const void *)at);
		break;
	case F_U64:
		if (row->needed || *(const uint64_t *)(const void *)at)
			buf_printf(b, "%s=%" PRIu64 "\n", row->key, *(const uint64_t *)(const void *)at);
		break;
	case F_BOOL:
		buf_printf(b, "%s=%d\n", row->key, *(const bool *)at);
		break;
	case F_MAC:
		mac_format(r->mac, mac);
		buf_printf(b, "%s=%s\n", row->key, mac);
		break;
	case F_TAG:
		for (unsigned i = 0; i < r->n_tags; i++)
			put_text(b, row->key, r->tags[i]);
		break;
	}
}

int record_format(const struct record *r, struct buf *out)
{
	buf_adds(out, HEAD);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		put_row(r, &rows[i], out);
	buf_adds(out, END);
	return out->failed ? -ENOBUFS : 0;
}

/* Undoes put_text in place; the new length or -EINVAL. */
static ssize_t unescape(char *s)
{
	char *w = s, *start = s;

	while (*s) {
		char c = *s++;

		if (c == '\\' && *s == 'n') {
			c = '\n';
			s++;
		} else if (c == '\\' && *s == '\\') {
			s++;
		} else if (c == '\\') {
			char digits[3] = "";

			if (*s != 'x' || !s[1] || !s[2])
				return -EINVAL;
			memcpy(digits, s + 1, 2);
			if (hex_decode(digits, &c, 1) || !c)
				return -EINVAL;
			s += 3;
		} else if ((unsigned char)c < 0x20 || c == 0x7f) {
			return -EINVAL;
		}
		*w++ = c;
	}
	*w = 0;
	return w - start;
}

static int take_number(const struct row *row, char *at, const char *value)
{
	uint64_t v;
	int err = parse_u64(value, row->kind == F_BOOL ? 1 : row->max, &v);

	if (err)
		return -EINVAL;
	if (row->kind == F_UINT)
		*(unsigned *)(void *)at = (unsigned)v;
	else if (row->kind == F_U64)
		*(uint64_t *)(void *)at = v;
	else
		*(bool *)at = v != 0;
	return 0;
}

static int take_row(struct record *r, const struct row *row, char *value)
{
	char *at = (char *)r + row->at;
	struct cidr c;
	ssize_t n;

	if (row->kind == F_UINT || row->kind == F_U64 || row->kind == F_BOOL)
		return take_number(row, at, value);
	n = unescape(value);
	if (n < 0)
		return -EINVAL;
	switch (row->kind) {
	case F_NAME:
		if (!name_is_valid(value, VM_NAME_MAX))
			return -EINVAL;
		memcpy(at, value, (size_t)n + 1);
		return 0;
	case F_STR:
		if ((size_t)n >= row->max)
			return -EINVAL;
		memcpy(at, value, (size_t)n + 1);
		return 0;
	case F_IP:
		if (n && (cidr_parse(value, 99, &c) || (size_t)n >= sizeof(r->ip)))
			return -EINVAL;
		memcpy(at, value, (size_t)n + 1);
		return 0;
	case F_MAC:
		return mac_parse(value, r->mac);
	case F_TAG:
		return record_add_tag(r, value);
	case F_SECRETS:
		r->secrets = names_are_valid(value) ? strdup(value) : NULL;
		return r->secrets ? 0 : -EINVAL;
	case F_LINES:
		if ((size_t)n > row->max)
			return -EINVAL;
		*(char **)(void *)at = strdup(value);
		return *(char **)(void *)at ? 0 : -ENOMEM;
	default: /* F_TEXT */
		if ((size_t)n > row->max)
			return -EINVAL;
		r->fault = strdup(value);
		return r->fault ? 0 : -ENOMEM;
	}
}

static int take_line(struct record *r, char *line, uint64_t *seen)
{
	char *eq = strchr(line, '=');

	if (!eq)
		return -EINVAL;
	*eq = 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcmp(rows[i].key, line) != 0)
			continue;
		if ((*seen & 1ull << i) && rows[i].kind != F_TAG)
			return -EINVAL;
		*seen |= 1ull << i;
		return take_row(r, &rows[i], eq + 1);
	}
	return -EINVAL;
}

static int take_lines(struct record *r, char *text, unsigned *line_no)
{
	uint64_t seen = 0;
	char *line = text;
	int err;

	for (*line_no = 2;; ++*line_no) { /* the text holds at most RECORD_MAX lines */
		char *nl = strchr(line, '\n');

		if (!nl)
			return -EINVAL;
		if (strcmp(line, END) == 0)
			break;
		*nl = 0;
		err = take_line(r, line, &seen);
		if (err)
			return err;
		line = nl + 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].needed && !(seen & 1ull << i))
			return -EINVAL;
	return 0;
}

/* text[0..n) is what follows the head's name; nothing ends it but n. */
static int other_version(const char *text, size_t n, struct fault *f)
{
	const char *end = memchr(text, '\n', n);
	size_t len = end ? (size_t)(end - text) : n;

	return fault_set(f, -EINVAL, "record: of version %.*s, this daemon reads version 1 [E_RECORD_VERSION]", len > 20 ? 20 : (int)len, text);
}

int record_parse(struct record *r, const char *text, size_t n, struct fault *f)
{
	unsigned line_no = 1;
	char *copy;
	int err;

	memset(r, 0, sizeof(*r));
	if (n > RECORD_MAX || strnlen(text, n) != n || n < strlen(HEAD) || memcmp(text, HEAD_ANY, strlen(HEAD_ANY)) != 0)
		return fault_set(f, -EINVAL, "record: not a mica VM record [E_RECORD_BAD]");
	if (memcmp(text, HEAD, strlen(HEAD)) != 0)
		return other_version(text + strlen(HEAD_ANY), n - strlen(HEAD_ANY), f);
	copy = strndup(text + strlen(HEAD), n - strlen(HEAD));
	if (!copy)
		return -ENOMEM;
	err = take_lines(r, copy, &line_no);
	free(copy);
	if (!err)
		return 0;
	record_done(r);
	return fault_set(f, err, "record:%u: damaged line [E_RECORD_BAD]", line_no);
}

/* Complete or not at all, but without waiting for the disk: enough against a killed daemon. */
static int save_quick(const struct buf *b, int dir_fd)
{
	int fd = openat(dir_fd, ".record.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), err;

	if (fd < 0)
		return -errno;
	err = write_full(fd, buf_data(b), buf_len(b));
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(dir_fd, ".record.new", dir_fd, "record"))
		err = -errno;
	if (err)
		unlinkat(dir_fd, ".record.new", 0);
	return err;
}

int record_save(const struct record *r, int dir_fd, bool durable)
{
	struct buf b;
	int err;

	buf_init(&b, RECORD_MAX);
	err = record_format(r, &b);
	if (!err)
		err = durable ? write_file_atomic(dir_fd, "record", buf_data(&b), buf_len(&b), 0600) : save_quick(&b, dir_fd);
	buf_done(&b);
	return err;
}

int record_load(struct record *r, int dir_fd, struct fault *f)
{
	char *text;
	size_t n;
	int err = read_file_at(dir_fd, "record", RECORD_MAX, &text, &n);

	if (err)
		return err == -ENOENT ? err : fault_errno(f, err, "record");
	err = record_parse(r, text, n, f);
	free(text);
	return err;
}
