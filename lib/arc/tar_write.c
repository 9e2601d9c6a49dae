#include "lib/arc/tar.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Octal digits, zero-filled, with a NUL. v fits (the caller checked). */
static void octal(uint8_t *p, unsigned n, uint64_t v)
{
	p[n - 1] = '\0';
	for (unsigned i = n - 1; i-- > 0; v >>= 3)
		p[i] = (uint8_t)('0' + (v & 7));
}

#define SIZE_MAX_OCTAL ((uint64_t)077777777777) /* 11 digits: 8 GiB − 1 */
#define ID_MAX_OCTAL ((uint64_t)07777777)

/* Splits into prefix (≤ 155) and name (≤ 100) at a slash. false: does not fit. slash: a folder's name ends in one. */
static bool put_name(uint8_t *h, const char *name, bool slash)
{
	size_t n = strlen(name), all = n + (slash ? 1 : 0), cut = 0;
	if (all > 100) {
		if (all > 256)
			return false;
		cut = all - 101; /* the first place where what follows is short enough */
		while (cut < n && name[cut] != '/')
			cut++;
		if (cut >= n || cut > 155 || cut == 0)
			return false;
		memcpy(h + 345, name, cut);
		cut++;
	}
	memcpy(h, name + cut, n - cut);
	if (slash)
		h[n - cut] = '/';
	return true;
}

static void header(uint8_t h[TAR_BLOCK_BYTES], const struct tar_entry *e, char type, uint64_t size)
{
	unsigned sum = 0;
	octal(h + 100, 8, e->mode & 07777);
	octal(h + 108, 8, e->uid <= ID_MAX_OCTAL ? e->uid : 65534);
	octal(h + 116, 8, e->gid <= ID_MAX_OCTAL ? e->gid : 65534);
	octal(h + 124, 12, size <= SIZE_MAX_OCTAL ? size : 0); /* pax says it when it does not fit */
	octal(h + 136, 12, e->mtime_s < 0 ? 0 : (uint64_t)e->mtime_s <= SIZE_MAX_OCTAL ? (uint64_t)e->mtime_s : SIZE_MAX_OCTAL);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar\00000", 8);
	octal(h + 329, 8, 0);
	octal(h + 337, 8, 0);
	memset(h + 148, ' ', 8);
	for (unsigned i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += h[i];
	octal(h + 148, 7, sum);
}

/* "<len> key=value\n": the length counts its own digits. */
static void pax_add(struct buf *b, const char *key, const char *val)
{
	size_t body = strlen(key) + strlen(val) + 3, len = body + 1, before = 0;
	while (len != before) { /* settles after at most two rounds: digits grow by one at most */
		char digits[24];
		before = len;
		len = body + (size_t)snprintf(digits, sizeof digits, "%zu", len);
	}
	buf_printf(b, "%zu %s=%s\n", len, key, val);
}

static int pax_header(struct buf *out, const struct tar_entry *e, const struct buf *records)
{
	struct tar_entry x = {.mode = 0644, .mtime_s = e->mtime_s};
	size_t n = buf_len(records);
	uint8_t *h = buf_room(out, TAR_BLOCK_BYTES);
	if (!h)
		return -ENOBUFS;
	memset(h, 0, TAR_BLOCK_BYTES);
	put_name(h, "PaxHeaders/entry", false);
	header(h, &x, 'x', n);
	buf_grew(out, TAR_BLOCK_BYTES);
	buf_add(out, buf_data(records), n);
	uint8_t *pad = buf_room(out, tar_padding(n));
	if (!pad)
		return -ENOBUFS;
	memset(pad, 0, tar_padding(n));
	buf_grew(out, tar_padding(n));
	return 0;
}

static bool is_link(const struct tar_entry *e)
{
	return e->type == TAR_OTHER && e->kind == '2';
}

/* Adds what the header cannot hold. */
static int pax_for(struct buf *out, const struct tar_entry *e, bool name_fits)
{
	struct buf rec;
	char num[48];
	int rc = 0;
	buf_init(&rec, TAR_HEADER_MAX);
	if (!name_fits)
		pax_add(&rec, "path", e->name);
	if (is_link(e) && strlen(e->link) > 100)
		pax_add(&rec, "linkpath", e->link);
	if (e->size > SIZE_MAX_OCTAL) {
		snprintf(num, sizeof num, "%llu", (unsigned long long)e->size);
		pax_add(&rec, "size", num);
	}
	if (buf_len(&rec) || e->mtime_s < 0 || e->mtime_s > (int64_t)SIZE_MAX_OCTAL) {
		if (e->mtime_s >= 0) {
			snprintf(num, sizeof num, "%lld.%09u", (long long)e->mtime_s, e->mtime_ns % 1000000000u);
			pax_add(&rec, "mtime", num);
		} else { /* a fraction of a negative number reads differently everywhere: whole seconds */
			snprintf(num, sizeof num, "%lld", (long long)e->mtime_s);
			pax_add(&rec, "mtime", num);
		}
		rc = rec.failed ? -ENOMEM : pax_header(out, e, &rec);
	}
	buf_done(&rec);
	return rc;
}

int tar_header(struct buf *out, const struct tar_entry *e)
{
	uint8_t h[TAR_BLOCK_BYTES] = {0};
	bool dir = e->type == TAR_DIR, link = is_link(e), fits;
	if ((e->type == TAR_OTHER && (!link || !e->link[0])) || !tar_name_is_clean(e->name))
		return -EINVAL;
	fits = put_name(h, e->name, dir);
	int rc = pax_for(out, e, fits);
	if (rc < 0)
		return rc;
	if (!fits) /* readers without pax get at least its beginning */
		memcpy(h, e->name, strnlen(e->name, 99));
	if (link)
		memcpy(h + 157, e->link, strnlen(e->link, 100));
	header(h, e, dir ? '5' : link ? '2' : '0', dir || link ? 0 : e->size);
	return buf_add(out, h, sizeof h);
}

int tar_finish(struct buf *out)
{
	static const uint8_t zero[2 * TAR_BLOCK_BYTES];
	return buf_add(out, zero, sizeof zero);
}
