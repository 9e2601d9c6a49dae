#include "cli/payload.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file by hand: 32 bytes of "program", one entry "a" of 18 bytes in chunks of 8: LZ4 literals, zeros, stored. */
static uint8_t file[512];
static size_t file_len;

static void put(size_t at, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		file[at + i] = (uint8_t)(v >> (8 * i));
}

static void seal(void)
{
	size_t foot = file_len - 64;
	put(foot + 36, crc32_of(file + 48, file_len - 64 - 48), 4);
	put(foot + 60, crc32_of(file + foot, 60), 4);
}

static void build(void)
{
	memset(file, 0, sizeof(file));
	memcpy(file + 32, "\x10w\x01\0\x30xyz", 8);
	memcpy(file + 40, "!?", 2);
	memcpy(file + 48, "a", 1);
	put(48 + 24, 18, 8);
	put(48 + 32, 10, 8);
	put(48 + 44, 3, 4);
	put(112, 32, 8), put(120, 8, 4), put(124, crc32_of(file + 32, 8), 4);
	put(144, 40, 8), put(152, 2 | 0x80000000u, 4), put(156, crc32_of(file + 40, 2), 4);
	memcpy(file + 160, "mica-payload-1", 14);
	put(160 + 16, 224, 8), put(160 + 24, 48, 8), put(160 + 32, 112, 4), put(160 + 40, 1, 4), put(160 + 44, 8, 4);
	file_len = 224;
	seal();
}

static int as_fd(size_t n)
{
	int fd = memfd_new("t");
	if (fd < 0 || write_full(fd, file, n))
		abort();
	return fd;
}

static int open_len(struct payload *p, size_t n, struct fault *f)
{
	int fd = as_fd(n);
	*f = (struct fault){ 0 };
	int err = payload_open(p, fd, f);
	if (err)
		close(fd);
	return err;
}

static int open_it(struct payload *p, struct fault *f)
{
	return open_len(p, file_len, f);
}

static void good(void)
{
	struct payload p;
	struct fault f;
	char got[32] = "";
	build();
	ok(!open_it(&p, &f), "opens: %s", f.text);
	const struct payload_entry *e = payload_find(&p, "a");
	ok(e && !payload_find(&p, "b"), "finds");
	int fd = e ? payload_unpack(&p, e, &f) : -1;
	ok(fd >= 0 && pread_full(fd, got, sizeof(got), 0) == 18 && !memcmp(got, "wwwwwxyz\0\0\0\0\0\0\0\0!?", 18), "unpacks: %s", f.text);
	ok(write(fd, "x", 1) < 0 && errno == EPERM && ftruncate(fd, 0) < 0, "is sealed");
	close(fd);
	close(p.fd);
	payload_done(&p);
}

/* Damage at one place, then a fresh checksum of table and footer when resealed. */
static void damaged(size_t at, uint64_t v, unsigned n, bool reseal, bool opens, const char *what)
{
	struct payload p;
	struct fault f;
	build();
	put(at, v, n);
	if (reseal)
		seal();
	int err = open_it(&p, &f);
	if (!opens) {
		ok(err == -EBADMSG && strstr(f.text, "damaged"), "%s: %s", what, f.text);
		return;
	}
	int fd = err ? -EBADMSG : payload_unpack(&p, &p.entries[0], &f);
	ok(!err && fd == -EBADMSG, "%s: %s", what, f.text);
	if (!err) {
		close(p.fd);
		payload_done(&p);
	}
}

int main(void)
{
	struct payload p;
	struct fault f;
	ok(crc32_of("123456789", 9) == 0xcbf43926u && !crc32_of("", 0), "CRC-32 as everybody's");
	good();
	build();
	file[0] = 0;
	ok(open_len(&p, 160, &f) == -ENOENT, "no payload in something that is no program");
	memcpy(file, "\177ELF", 4);
	put(40, 0, 8);
	ok(open_len(&p, 20, &f) == -ENOENT, "no payload in a few bytes");
	build();
	memcpy(file, "\177ELF", 4);
	put(0x28, 64, 8), put(0x3a, 64, 2), put(0x3c, 1, 2); /* section headers end at 128 */
	ok(open_len(&p, 180, &f) == -EBADMSG, "a program whose payload was cut: %s", f.text);
	ok(open_len(&p, 128, &f) == -ENOENT, "a program alone");
	damaged(160 + 44, 4, 4, false, false, "footer changed");
	damaged(48, 'b', 1, false, false, "table changed");
	damaged(160 + 16, 225, 8, true, false, "another length");
	damaged(160 + 24, UINT64_MAX, 8, true, false, "table offset far away");
	damaged(160 + 32, 0xffffffff, 4, true, false, "table too long");
	damaged(160 + 40, 65, 4, true, false, "too many entries");
	damaged(160 + 44, 0, 4, true, false, "chunks of no bytes");
	damaged(48 + 24, UINT64_MAX, 8, true, false, "an impossible size");
	damaged(48 + 40, 0xffffffff, 4, true, false, "chunks out of the table");
	damaged(48 + 44, 2, 4, true, false, "too few chunks");
	damaged(33, 'W', 1, false, true, "a changed chunk");
	damaged(112, UINT64_MAX, 8, true, true, "a chunk far away");
	damaged(120, 0x7fffffff, 4, true, true, "a huge chunk");
	damaged(152, 3 | 0x80000000u, 4, true, true, "a stored chunk of another size");
	return tap_done();
}
