/* lib/arc/tar.h: what is refused first, then reading and writing round trips. */
#include "lib/arc/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tap.h"

struct seen {
	struct tar_entry last;
	unsigned entries, ends;
	uint64_t bytes;
	uint32_t sum;
	int refuse; /* what data() returns */
};

static int on_entry(void *arg, const struct tar_entry *e, struct fault *f)
{
	struct seen *s = arg;
	(void)f;
	s->last = *e;
	s->entries++;
	return 0;
}

static int on_data(void *arg, const void *p, size_t n, struct fault *f)
{
	struct seen *s = arg;
	(void)f;
	for (size_t i = 0; i < n; i++)
		s->sum = s->sum * 31 + ((const uint8_t *)p)[i];
	s->bytes += n;
	return s->refuse;
}

static int on_end(void *arg, struct fault *f)
{
	(void)f;
	((struct seen *)arg)->ends++;
	return 0;
}

static const struct tar_reader_ops ops = {on_entry, on_data, on_end};
static struct tar_reader reader;
static struct seen seen;
static struct fault why;

/* Reads in pieces of `step`; 0, or what feed or finish returned. */
static int read_all(const uint8_t *p, size_t n, size_t step)
{
	memset(&seen, 0, sizeof seen);
	tar_reader_init(&reader, &ops, &seen);
	for (size_t i = 0; i < n; i += step) {
		int rc = tar_reader_feed(&reader, p + i, n - i < step ? n - i : step, &why);
		if (rc < 0)
			return rc;
	}
	return tar_reader_finish(&reader, &why);
}

static int read_buf(struct buf *b, size_t step)
{
	return read_all(buf_data(b), buf_len(b), step);
}

static void put_octal(uint8_t *p, unsigned n, uint64_t v)
{
	p[n - 1] = '\0';
	for (unsigned i = n - 1; i-- > 0; v >>= 3)
		p[i] = (uint8_t)('0' + (v & 7));
}

static void seal(uint8_t *h)
{
	unsigned sum = 0;
	memset(h + 148, ' ', 8);
	for (unsigned i = 0; i < 512; i++)
		sum += h[i];
	put_octal(h + 148, 7, sum);
}

/* A raw header, so that what our own writer would never say can be said. */
static void raw(struct buf *b, const char *name, char type, uint64_t size, const void *body)
{
	uint8_t h[512] = {0};
	static const uint8_t zero[512];
	memcpy(h, name, strnlen(name, 100));
	put_octal(h + 100, 8, 0644);
	put_octal(h + 108, 8, 0);
	put_octal(h + 116, 8, 0);
	put_octal(h + 124, 12, size);
	put_octal(h + 136, 12, 1700000000);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar\00000", 8);
	seal(h);
	buf_add(b, h, sizeof h);
	if (body) {
		buf_add(b, body, size);
		buf_add(b, zero, tar_padding(size));
	}
}

static void test_names(void)
{
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "//"};
	static const char *const good[] = {"a", "a/b", "...", "a..", ".a", "a/...", "a b/\xc3\xa4"};
	struct buf b;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ok(!tar_name_is_clean(bad[i]), "name '%s' is not clean", bad[i]);
		buf_init(&b, 8192);
		raw(&b, bad[i], '0', 0, NULL);
		bool dir_form = strcmp(bad[i], "a/") == 0; /* how old archives spell a folder */
		ok(read_buf(&b, 512) == (dir_form ? 0 : -EINVAL), "entry '%s' is %s", bad[i], dir_form ? "a folder" : "refused");
		buf_done(&b);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(tar_name_is_clean(good[i]), "name '%s' is clean", good[i]);
}

static void test_broken(void)
{
	struct buf b;
	uint8_t junk[1024];
	memset(junk, 'x', sizeof junk);
	ok(read_all(junk, sizeof junk, 512) == -EPROTO, "junk is refused");
	ok(read_all(junk, 100, 512) == -EPROTO, "less than a header is refused");
	buf_init(&b, 1 << 20);
	raw(&b, "a", '0', 10, "0123456789");
	ok(read_all(buf_data(&b), 515, 7) == -EPROTO, "an end within data is refused");
	ok(read_all(buf_data(&b), 522, 7) == 0 && seen.bytes == 10, "a missing padding at the very end is let pass");
	buf_data(&b)[200]++;
	ok(read_buf(&b, 512) == -EPROTO, "a wrong checksum is refused");
	buf_clear(&b);
	raw(&b, "PaxHeaders/x", 'x', 40000, NULL);
	ok(read_buf(&b, 512) == -EPROTO, "an extended header of 40000 bytes is refused");
	static const char *const pax[] = {"11 path=a\n", "999 path=abc\n", "path=abc\n", "0 path=x\n", "12 path=abc", "10 pathabc\n", "13 size=12x4\n",
					  "30 size=99999999999999999999\n\n", "12 =abcdefg\n", "26 GNU.sparse.size=1000000\n", "18446744073709551616 a=b\n",
					  "20 mtime=12.34.5678\n", "9 size=\n"};
	for (size_t i = 0; i < ARRAY_LEN(pax); i++) {
		buf_clear(&b);
		raw(&b, "PaxHeaders/x", 'x', strlen(pax[i]), pax[i]);
		raw(&b, "a", '0', 0, NULL);
		int rc = read_buf(&b, 512);
		ok(rc == -EPROTO || rc == -EOPNOTSUPP, "broken pax record %zu is refused (%d)", i, rc);
	}
	buf_clear(&b);
	raw(&b, "PaxHeaders/x", 'x', 18, "18 path=../etc/pw\n");
	raw(&b, "a", '0', 0, NULL);
	ok(read_buf(&b, 512) == -EINVAL, "a pax path is checked like any other");
	buf_clear(&b);
	raw(&b, "PaxHeaders/x", 'x', 28, "28 size=9223372036854775807\n");
	raw(&b, "a", '0', 0, NULL);
	ok(read_buf(&b, 512) == -EPROTO, "an impossible size is refused");
	buf_clear(&b);
	raw(&b, "././@LongLink", 'L', 7, "../abcd");
	raw(&b, "a", '0', 0, NULL);
	ok(read_buf(&b, 512) == -EINVAL, "a GNU long name is checked too");
	buf_clear(&b);
	uint8_t h[512] = {0};
	buf_add(&b, h, sizeof h);
	raw(&b, "a", '0', 0, NULL);
	ok(read_buf(&b, 512) == -EPROTO, "an entry behind a single zero block is refused");
	buf_done(&b);
}

static void entry(struct tar_entry *e, const char *name, enum tar_type type, uint64_t size)
{
	memset(e, 0, sizeof *e);
	strcpy(e->name, name);
	e->type = type;
	e->mode = 0750;
	e->size = size;
	e->mtime_s = 1600000000;
	e->mtime_ns = 123456789;
	e->uid = 1000;
	e->gid = 100;
}

static void round_trip(const struct tar_entry *e, const char *what)
{
	static uint8_t body[3000];
	struct buf b;
	buf_init(&b, 1 << 20);
	memset(body, 'q', sizeof body);
	ok(tar_header(&b, e) == 0 && buf_len(&b) % 512 == 0 && buf_len(&b) <= TAR_HEADER_MAX, "%s: written in %zu bytes", what, buf_len(&b));
	ok(memcmp(buf_data(&b) + buf_len(&b) - 512 + 257, "ustar", 5) == 0, "%s: ustar magic at 257", what);
	if (e->size && e->size <= sizeof body) {
		buf_add(&b, body, e->size);
		memset(buf_room(&b, 512), 0, 512);
		buf_grew(&b, tar_padding(e->size));
	}
	if (e->size <= sizeof body)
		tar_finish(&b);
	int rc = e->size <= sizeof body ? read_buf(&b, 1) : (memset(&seen, 0, sizeof seen), tar_reader_init(&reader, &ops, &seen),
							    tar_reader_feed(&reader, buf_data(&b), buf_len(&b), &why));
	ok(rc == 0 && seen.entries == 1 && strcmp(seen.last.name, e->name) == 0 && seen.last.type == e->type && seen.last.size == e->size &&
	   seen.last.mode == e->mode && seen.last.mtime_s == e->mtime_s, "%s: read back the same (%d)", what, rc);
	buf_done(&b);
}

static void test_round_trips(void)
{
	struct tar_entry e;
	char name[TAR_NAME_MAX];
	entry(&e, "a", TAR_FILE, 0);
	round_trip(&e, "empty file");
	entry(&e, "dir/file", TAR_FILE, 2999);
	round_trip(&e, "file");
	entry(&e, "dir", TAR_DIR, 0);
	round_trip(&e, "folder");
	memset(name, 'n', sizeof name);
	for (size_t n = 98; n < 103; n++) {
		name[n] = '\0';
		entry(&e, name, TAR_FILE, 1);
		round_trip(&e, "name near 100 bytes");
		entry(&e, name, TAR_DIR, 0);
		round_trip(&e, "folder near 100 bytes");
		name[n] = 'n';
	}
	for (size_t n = 250; n < 260; n++) {
		name[155] = '/';
		name[n] = '\0';
		entry(&e, name, TAR_FILE, 1);
		round_trip(&e, "name with prefix near 255 bytes");
		name[n] = 'n';
	}
	for (size_t i = 100; i < TAR_NAME_MAX; i += 100)
		name[i] = '/';
	name[TAR_NAME_MAX - 1] = '\0';
	entry(&e, name, TAR_FILE, 1);
	round_trip(&e, "the longest name");
	entry(&e, "big", TAR_FILE, (uint64_t)9 << 30);
	round_trip(&e, "9 GiB");
	entry(&e, "old", TAR_FILE, 0);
	e.mtime_s = -86400;
	round_trip(&e, "before 1970");
	struct buf b;
	buf_init(&b, 1 << 20);
	entry(&e, "x", TAR_OTHER, 0);
	ok(tar_header(&b, &e) == -EINVAL, "a device is not written");
	e.kind = '2';
	ok(tar_header(&b, &e) == -EINVAL, "nor a link to nowhere");
	strcpy(e.link, "../y");
	ok(tar_header(&b, &e) == 0 && buf_len(&b) == 512 && buf_data(&b)[156] == '2' && strcmp((const char *)buf_data(&b) + 157, "../y") == 0, "a link is");
	buf_clear(&b);
	memset(e.link, 'l', 300);
	ok(tar_header(&b, &e) == 0 && buf_len(&b) == 3 * 512 && memmem(buf_data(&b), 1024, "314 linkpath=l", 14), "one with a long target, too");
	entry(&e, "../x", TAR_FILE, 0);
	ok(tar_header(&b, &e) == -EINVAL, "an unclean name is not written");
	buf_done(&b);
}

static void test_foreign(void)
{
	struct buf b;
	char body[700];
	memset(body, 'b', sizeof body);
	buf_init(&b, 1 << 20);
	raw(&b, "link", '2', 0, NULL);
	raw(&b, "hard", '1', 500, NULL); /* some archives give links a size; no bytes follow */
	raw(&b, "PaxHeaders/g", 'g', 12, "12 foo=bar\n\n");
	raw(&b, "PaxHeaders/x", 'x', 38, "30 mtime=1234567890.987654321\n8 a=xyz\n");
	raw(&b, "file", '0', 700, body);
	raw(&b, "././@LongLink", 'L', 151, "p/ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp");
	raw(&b, "p/pppp", '0', 700, body);
	tar_finish(&b);
	buf_add(&b, body, sizeof body);
	for (size_t step = 1; step < 2000; step = step * 3 + 1) {
		int rc = read_buf(&b, step);
		ok(rc == 0 && seen.entries == 4 && seen.ends == 4 && seen.bytes == 1400 && strlen(seen.last.name) == 151, "a foreign archive in steps of %zu", step);
	}
	buf_clear(&b);
	raw(&b, "PaxHeaders/x", 'x', 30, "30 mtime=1234567890.987654321\n");
	raw(&b, "file", '0', 0, NULL);
	read_buf(&b, 512);
	ok(seen.last.mtime_s == 1234567890 && seen.last.mtime_ns == 987654321, "pax time");
	memset(&seen, 0, sizeof seen);
	seen.refuse = -ENOSPC;
	buf_clear(&b);
	raw(&b, "file", '0', 700, body);
	tar_reader_init(&reader, &ops, &seen);
	ok(tar_reader_feed(&reader, buf_data(&b), buf_len(&b), &why) == -ENOSPC, "what an operation refuses comes back");
	buf_done(&b);
}

/* Two files of 700 bytes; of the first only the head and 10 bytes are fed. */
static void test_skip(void)
{
	char body[700] = {0};
	uint64_t n = 1;
	struct buf b;
	buf_init(&b, 1 << 20);
	raw(&b, "a", '0', 700, body);
	raw(&b, "b", '0', 700, body);
	memset(&seen, 0, sizeof seen);
	tar_reader_init(&reader, &ops, &seen);
	ok(tar_reader_skip(&reader, 1000, &n, &why) == 0 && n == 0, "outside a file nothing is skipped");
	tar_reader_feed(&reader, buf_data(&b), 522, &why);
	ok(tar_reader_skip(&reader, 100, &n, &why) == 0 && n == 100 && seen.ends == 0 && tar_reader_finish(&reader, &why) == -EPROTO, "a part of a file is skipped");
	ok(tar_reader_skip(&reader, 1000, &n, &why) == 0 && n == 590 && seen.ends == 1 && seen.bytes == 10 && reader.at == 1212, "then the rest");
	ok(tar_reader_feed(&reader, buf_data(&b) + 1212, buf_len(&b) - 1212, &why) == 0 && seen.ends == 2 && tar_reader_finish(&reader, &why) == 0, "and reading goes on");
	buf_done(&b);
}

int main(void)
{
	test_names();
	test_skip();
	test_broken();
	test_round_trips();
	test_foreign();
	return tap_done();
}
