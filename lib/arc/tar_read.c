#include "lib/arc/tar.h"

#include <errno.h>
#include <string.h>

/* Offsets of the ustar header (POSIX.1-1988). */
enum { AT_NAME = 0, AT_MODE = 100, AT_UID = 108, AT_GID = 116, AT_SIZE = 124, AT_MTIME = 136, AT_SUM = 148, AT_TYPE = 156,
       AT_LINK = 157, AT_MAGIC = 257, AT_MAJOR = 329, AT_MINOR = 337, AT_PREFIX = 345 };

bool tar_name_is_clean(const char *name)
{
	const char *p = name;
	for (;;) {
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false; /* also: empty name, leading or trailing slash */
		if (p[n] == '\0')
			return (size_t)(p + n - name) < TAR_NAME_MAX;
		p += n + 1;
	}
}

void tar_reader_init(struct tar_reader *r, const struct tar_reader_ops *ops, void *arg)
{
	r->ops = ops;
	r->arg = arg;
	r->state = TAR_HEAD;
	r->have = r->ext_len = 0;
	r->left = r->pad = 0;
	r->image = false;
	r->ext_name = r->ext_link = r->ext_size = r->ext_mtime = false;
	r->entries = r->data_bytes = r->at = 0;
	r->e.name[0] = r->e.link[0] = '\0';
	r->e.dev_major = r->e.dev_minor = 0;
}

/* Octal with blanks around it, or GNU's base-256 when the first bit is set. */
static int number(const uint8_t *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;
	if (p[0] & 0x80) {
		if ((p[0] & 0x7f) != 0)
			return -EPROTO; /* negative or beyond 64 bits */
		for (i = 1; i < n; i++) {
			if (v >> 56)
				return -EPROTO;
			v = v << 8 | p[i];
		}
		*out = v;
		return 0;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0'); /* at most 12 digits: 36 bits */
	for (; i < n; i++)
		if (p[i] != ' ' && p[i] != '\0')
			return -EPROTO;
	*out = v;
	return 0;
}

static bool sum_is_right(const uint8_t *b)
{
	uint64_t said;
	unsigned sum = 0;
	for (unsigned i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += i >= AT_SUM && i < AT_SUM + 8 ? ' ' : b[i];
	return number(b + AT_SUM, 8, &said) == 0 && said == sum;
}

static bool is_zero(const uint8_t *b)
{
	for (unsigned i = 0; i < TAR_BLOCK_BYTES; i++)
		if (b[i])
			return false;
	return true;
}

static void skip_after(struct tar_reader *r, uint64_t size)
{
	r->left = size;
	r->pad = tar_padding(size);
}

/* Name from prefix and name fields, unless an extension gave one. */
static void take_name(struct tar_reader *r)
{
	const char *b = (const char *)r->block;
	size_t n = 0, len;
	if (r->ext_name)
		return;
	if (memcmp(b + AT_MAGIC, "ustar\0", 6) == 0 && b[AT_PREFIX]) {
		n = strnlen(b + AT_PREFIX, 155);
		memcpy(r->e.name, b + AT_PREFIX, n);
		r->e.name[n++] = '/';
	}
	len = strnlen(b + AT_NAME, 100);
	memcpy(r->e.name + n, b + AT_NAME, len);
	r->e.name[n + len] = '\0';
}

/* "./etc/" and "/etc" are etc, "./" is the root: spellings that programs write for a whole file system. */
static void plain_name(char *name)
{
	size_t skip = 0, n;
	while (name[skip] == '/' || (name[skip] == '.' && (name[skip + 1] == '/' || name[skip + 1] == '\0')))
		skip++;
	n = strlen(name + skip);
	memmove(name, name + skip, n + 1);
	if (n == 0)
		memcpy(name, ".", 2);
}

/* Where a link points, and a device's numbers. */
static int take_target(struct tar_reader *r)
{
	struct tar_entry *e = &r->e;
	uint64_t major = 0, minor = 0;
	if (!r->ext_link) {
		size_t n = e->kind == '1' || e->kind == '2' ? strnlen((const char *)r->block + AT_LINK, 100) : 0;
		memcpy(e->link, r->block + AT_LINK, n);
		e->link[n] = '\0';
	}
	if ((e->kind == '3' || e->kind == '4') && (number(r->block + AT_MAJOR, 8, &major) < 0 || number(r->block + AT_MINOR, 8, &minor) < 0))
		return -EPROTO;
	if (major > 0xfff || minor > 0xfffff)
		return -EPROTO;
	e->dev_major = (uint32_t)major;
	e->dev_minor = (uint32_t)minor;
	return 0;
}

static int take_type(struct tar_reader *r, struct fault *f)
{
	struct tar_entry *e = &r->e;
	size_t len = strlen(e->name);
	e->kind = (char)(r->block[AT_TYPE] ? r->block[AT_TYPE] : '0');
	e->type = e->kind == '0' || e->kind == '7' ? TAR_FILE : e->kind == '5' ? TAR_DIR : TAR_OTHER;
	if (len && e->name[len - 1] == '/' && e->type != TAR_OTHER) {
		e->name[len - 1] = '\0'; /* "dir/" is how a folder is spelled; the oldest tars have no type for it */
		e->type = TAR_DIR;
	}
	if (r->image)
		plain_name(e->name);
	if (!tar_name_is_clean(e->name) && !(r->image && strcmp(e->name, ".") == 0 && e->type == TAR_DIR))
		return fault_set(f, -EINVAL, "archive entry '%.200s': names must be relative, without '.', '..' or empty parts", e->name);
	return 0;
}

static int entry_begins(struct tar_reader *r, uint64_t size, struct fault *f)
{
	struct tar_entry *e = &r->e;
	uint64_t mode, mtime;
	take_name(r);
	int rc = take_type(r, f);
	if (rc < 0)
		return rc;
	if (number(r->block + AT_MODE, 8, &mode) < 0 || number(r->block + AT_UID, 8, &e->uid) < 0 ||
	    number(r->block + AT_GID, 8, &e->gid) < 0 || number(r->block + AT_MTIME, 12, &mtime) < 0 || mtime > INT64_MAX ||
	    (r->image && take_target(r) < 0))
		return fault_set(f, -EPROTO, "archive entry '%.200s': a number in its header is broken", e->name);
	e->mode = (uint32_t)mode & 07777;
	e->size = r->ext_size ? r->said_size : size;
	e->mtime_s = r->ext_mtime ? r->said_mtime_s : (int64_t)mtime;
	e->mtime_ns = r->ext_mtime ? r->said_mtime_ns : 0;
	r->ext_name = r->ext_link = r->ext_size = r->ext_mtime = false;
	/* Only files have data. Links carry a size in some archives but never bytes; a folder's size is a hint. */
	if (e->type != TAR_FILE)
		e->size = 0;
	if (e->size > INT64_MAX - TAR_BLOCK_BYTES)
		return fault_set(f, -EPROTO, "archive entry '%.200s': its size is impossible", e->name);
	skip_after(r, e->size);
	r->state = e->size ? TAR_DATA : TAR_HEAD;
	r->entries++;
	rc = r->ops->entry(r->arg, e, f);
	if (rc == 0 && e->size == 0)
		rc = r->ops->end(r->arg, f);
	return rc;
}

static int head_is_full(struct tar_reader *r, struct fault *f)
{
	uint64_t size;
	char kind = (char)r->block[AT_TYPE];
	r->have = 0;
	if (is_zero(r->block)) {
		r->state = r->state == TAR_ZERO ? TAR_ENDED : TAR_ZERO;
		return 0;
	}
	if (r->state == TAR_ZERO || !sum_is_right(r->block) || number(r->block + AT_SIZE, 12, &size) < 0)
		return fault_set(f, -EPROTO, "not a tar archive, or a broken one: bad header after %llu entries", (unsigned long long)r->entries);
	if (kind == 'x' || kind == 'L' || (kind == 'K' && r->image)) {
		if (size > TAR_EXT_MAX - 1)
			return fault_set(f, -EPROTO, "archive: an extended header of %llu bytes is too long", (unsigned long long)size);
		r->ext_kind = kind;
		r->ext_len = 0;
		r->state = TAR_EXT;
		skip_after(r, size);
	} else if (kind == 'g' || kind == 'K') { /* defaults, and link targets that a copy does not follow */
		if (size > INT64_MAX - TAR_BLOCK_BYTES)
			return fault_set(f, -EPROTO, "archive: impossible size of a global header");
		r->state = TAR_SKIP;
		skip_after(r, size);
	} else {
		return entry_begins(r, size, f);
	}
	return 0;
}

/* "1700000000.123456789" or without fraction; may be negative. */
static int parse_time(const char *p, size_t n, int64_t *s, uint32_t *ns)
{
	bool neg = n && *p == '-';
	uint64_t v = 0;
	size_t i = neg ? 1 : 0, digits = 0;
	for (; i < n && p[i] >= '0' && p[i] <= '9'; i++, digits++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
			return -EPROTO;
	*ns = 0;
	if (digits == 0 || v > INT64_MAX / 2 || (i < n && p[i] != '.'))
		return -EPROTO;
	uint32_t unit = 100000000;
	for (i++; i < n && p[i] >= '0' && p[i] <= '9'; i++, unit /= 10)
		*ns += (uint32_t)(p[i] - '0') * unit;
	*s = neg ? -(int64_t)v : (int64_t)v;
	if (neg && *ns) { /* −1.25 is −2 s + 0.75 s */
		*s -= 1;
		*ns = 1000000000 - *ns;
	}
	return i >= n ? 0 : -EPROTO;
}

static int set_path(char to[TAR_NAME_MAX], bool *said, const char *p, size_t n)
{
	if (n == 0 || n >= TAR_NAME_MAX || memchr(p, '\0', n))
		return -EPROTO;
	memcpy(to, p, n);
	to[n] = '\0';
	*said = true;
	return 0;
}

static int set_name(struct tar_reader *r, const char *p, size_t n)
{
	return set_path(r->e.name, &r->ext_name, p, n);
}

static int set_link(struct tar_reader *r, const char *p, size_t n)
{
	return set_path(r->e.link, &r->ext_link, p, n);
}

#define XATTR "SCHILY.xattr."

/* What only an image's reader wants to know. */
static int image_record(struct tar_reader *r, const char *key, size_t key_n, const char *val, size_t val_n, struct fault *f)
{
	char name[256]; /* XATTR_NAME_MAX and a NUL */
	size_t n = key_n - (sizeof(XATTR) - 1);
	if (key_n == 8 && memcmp(key, "linkpath", 8) == 0)
		return set_link(r, val, val_n);
	if (key_n < sizeof(XATTR) || memcmp(key, XATTR, sizeof(XATTR) - 1) != 0 || !r->ops->xattr)
		return 0;
	if (n >= sizeof(name) || memchr(key, '\0', key_n))
		return -EPROTO;
	memcpy(name, key + sizeof(XATTR) - 1, n);
	name[n] = '\0';
	return r->ops->xattr(r->arg, name, val, val_n, f);
}

static int parse_size_dec(const char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	if (n == 0)
		return -EPROTO;
	for (size_t i = 0; i < n; i++)
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
			return -EPROTO;
	*out = v;
	return 0;
}

static int pax_record(struct tar_reader *r, const char *key, size_t key_n, const char *val, size_t val_n, struct fault *f)
{
	if (key_n == 4 && memcmp(key, "path", 4) == 0)
		return set_name(r, val, val_n);
	if (key_n == 4 && memcmp(key, "size", 4) == 0) {
		r->ext_size = true;
		return parse_size_dec(val, val_n, &r->said_size);
	}
	if (key_n == 5 && memcmp(key, "mtime", 5) == 0) {
		r->ext_mtime = true;
		return parse_time(val, val_n, &r->said_mtime_s, &r->said_mtime_ns);
	}
	/* A sparse file's bytes are not its content: better refused than copied wrong. */
	if (key_n >= 11 && memcmp(key, "GNU.sparse.", 11) == 0)
		return -EOPNOTSUPP;
	return r->image ? image_record(r, key, key_n, val, val_n, f) : 0;
}

/* Records "<len> <key>=<value>\n", len counting the whole record. */
static int pax_is_full(struct tar_reader *r, struct fault *f)
{
	const char *p = (const char *)r->ext, *end = p + r->ext_len;
	while (p < end) {
		const char *sp = memchr(p, ' ', (size_t)(end - p));
		uint64_t len;
		if (!sp || parse_size_dec(p, (size_t)(sp - p), &len) < 0 || len > (uint64_t)(end - p) || len < (uint64_t)(sp - p) + 3 ||
		    p[len - 1] != '\n')
			return -EPROTO;
		const char *key = sp + 1, *stop = p + len - 1;
		const char *eq = memchr(key, '=', (size_t)(stop - key));
		if (!eq || eq == key)
			return -EPROTO;
		int rc = pax_record(r, key, (size_t)(eq - key), eq + 1, (size_t)(stop - eq - 1), f);
		if (rc < 0)
			return rc;
		p += len;
	}
	return 0;
}

static int ext_is_full(struct tar_reader *r, struct fault *f)
{
	int rc;
	if (r->ext_kind == 'x') {
		rc = pax_is_full(r, f);
	} else {
		size_t n = r->ext_len;
		while (n && r->ext[n - 1] == '\0')
			n--;
		rc = r->ext_kind == 'K' ? set_link(r, (const char *)r->ext, n) : set_name(r, (const char *)r->ext, n);
	}
	if (rc == -EOPNOTSUPP)
		return fault_set(f, rc, "archive: sparse files are not supported; write it without them (tar without --sparse)");
	if (rc == -EPROTO)
		return fault_set(f, rc, "archive: a broken extended header after %llu entries", (unsigned long long)r->entries);
	return rc; /* what op xattr says stands in f */
}

/* One step on at most n bytes; returns how many were used or -errno. */
static ssize_t step(struct tar_reader *r, const uint8_t *p, size_t n, struct fault *f)
{
	size_t take = n;
	int rc = 0;
	switch (r->state) {
	case TAR_HEAD:
	case TAR_ZERO:
		if (take > TAR_BLOCK_BYTES - r->have)
			take = TAR_BLOCK_BYTES - r->have;
		memcpy(r->block + r->have, p, take);
		r->have += take;
		r->at += take;
		if (r->have == TAR_BLOCK_BYTES)
			rc = head_is_full(r, f);
		return rc < 0 ? rc : (ssize_t)take;
	case TAR_ENDED:
		return (ssize_t)n;
	case TAR_PAD:
		if (take > r->pad)
			take = (size_t)r->pad;
		r->pad -= take;
		r->at += take;
		if (r->pad == 0)
			r->state = TAR_HEAD;
		return (ssize_t)take;
	case TAR_EXT:
	case TAR_DATA:
	case TAR_SKIP:
		break;
	}
	if (take > r->left)
		take = (size_t)r->left;
	r->left -= take;
	r->at += take;
	if (r->state == TAR_EXT) {
		memcpy(r->ext + r->ext_len, p, take);
		r->ext_len += take;
		if (r->left == 0)
			rc = ext_is_full(r, f);
	} else if (r->state == TAR_DATA && take) {
		r->data_bytes += take;
		rc = r->ops->data(r->arg, p, take, f);
		if (rc == 0 && r->left == 0)
			rc = r->ops->end(r->arg, f);
	}
	if (r->left == 0)
		r->state = r->pad ? TAR_PAD : TAR_HEAD;
	return rc < 0 ? rc : (ssize_t)take;
}

int tar_reader_feed(struct tar_reader *r, const void *p, size_t n, struct fault *f)
{
	const uint8_t *at = p;
	while (n) {
		/* Every step uses at least one byte, or leaves a state whose `left` was 0 (an empty extension). */
		ssize_t used = step(r, at, n, f);
		if (used < 0)
			return (int)used;
		at += used;
		n -= (size_t)used;
	}
	return 0;
}

int tar_reader_skip(struct tar_reader *r, uint64_t max, uint64_t *skipped, struct fault *f)
{
	bool file = r->state == TAR_DATA;
	*skipped = !file && r->state != TAR_SKIP ? 0 : r->left < max ? r->left : max;
	r->left -= *skipped;
	r->at += *skipped;
	if (*skipped == 0 || r->left)
		return 0;
	r->state = r->pad ? TAR_PAD : TAR_HEAD;
	return file ? r->ops->end(r->arg, f) : 0;
}

int tar_reader_finish(struct tar_reader *r, struct fault *f)
{
	/* Some writers leave the end marker out; the transport knows whether the bytes are complete. */
	bool whole = (r->state == TAR_HEAD || r->state == TAR_ZERO) ? r->have == 0 && !r->ext_name : r->state == TAR_ENDED;
	/* The last file's padding may be missing too when nothing follows. */
	if (!whole && r->state != TAR_PAD)
		return fault_set(f, -EPROTO, "archive is cut short after %llu entries", (unsigned long long)r->entries);
	return 0;
}
