#include "cli/payload.h"
#include "cli/lz4.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOOTER_BYTES 64u
#define ENTRY_BYTES 64u
#define CHUNK_RECORD_BYTES 16u
#define CHUNK_MAX (4u << 20)
#define STORED 0x80000000u
static const char magic[16] = "mica-payload-1";

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Eight tables, eight bytes a step: the programs are checked on every start. */
uint32_t crc32_of(const void *data, size_t n)
{
	static uint32_t t[8][256];
	const uint8_t *p = data;
	if (!t[0][1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;
			for (int k = 0; k < 8; k++)
				c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
			t[0][i] = c;
		}
		for (uint32_t i = 0; i < 256; i++)
			for (int k = 1; k < 8; k++)
				t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
	}
	uint32_t c = ~0u;
	for (; n >= 8; p += 8, n -= 8) {
		uint32_t a = get32(p) ^ c, b = get32(p + 4);
		c = t[7][a & 255] ^ t[6][a >> 8 & 255] ^ t[5][a >> 16 & 255] ^ t[4][a >> 24] ^ t[3][b & 255] ^ t[2][b >> 8 & 255] ^ t[1][b >> 16 & 255] ^ t[0][b >> 24];
	}
	for (; n; p++, n--)
		c = c >> 8 ^ t[0][(c ^ *p) & 255];
	return ~c;
}

/* Where the program itself ends: its section headers stand last. 0 when this is no ELF file. */
static uint64_t program_bytes(int fd)
{
	Elf64_Ehdr e;
	uint64_t end = 0;
	if (pread_full(fd, &e, sizeof(e), 0) != (ssize_t)sizeof(e) || memcmp(e.e_ident, ELFMAG, SELFMAG))
		return 0;
	if (__builtin_add_overflow(e.e_shoff, (uint64_t)e.e_shnum * e.e_shentsize, &end))
		return 0;
	return end;
}

static int damaged(struct fault *f, const char *what)
{
	return fault_set(f, -EBADMSG, "this file is damaged or was cut while it was copied: %s", what);
}

static int no_footer(int fd, uint64_t size, struct fault *f)
{
	uint64_t program = program_bytes(fd);
	/* The link pads nothing behind the section headers, so anything more once was a payload. */
	return program && size > program ? damaged(f, "its end is missing") : -ENOENT;
}

static int read_entries(struct payload *p, const uint8_t *table, unsigned n_entries, struct fault *f)
{
	for (unsigned i = 0; i < n_entries; i++) {
		const uint8_t *t = table + (size_t)i * ENTRY_BYTES;
		struct payload_entry *e = &p->entries[i];
		memcpy(e->name, t, PAYLOAD_NAME_MAX);
		if (!memchr(e->name, 0, PAYLOAD_NAME_MAX))
			return damaged(f, "a name in its table does not end");
		e->bytes = get64(t + 24);
		e->packed_bytes = get64(t + 32);
		e->first_chunk = get32(t + 40);
		e->n_chunks = get32(t + 44);
		uint64_t want = e->bytes / p->chunk_bytes + (e->bytes % p->chunk_bytes != 0);
		if (e->bytes > INT64_MAX || e->n_chunks != want || e->first_chunk > p->n_chunks || e->n_chunks > p->n_chunks - e->first_chunk)
			return damaged(f, "its table makes no sense");
	}
	p->n_entries = n_entries;
	return 0;
}

static int read_table(struct payload *p, const uint8_t *footer, struct fault *f)
{
	uint64_t off = get64(footer + 24);
	uint32_t bytes = get32(footer + 32), n_entries = get32(footer + 40);
	p->chunk_bytes = get32(footer + 44);
	if (n_entries > PAYLOAD_ENTRIES_MAX || bytes > PAYLOAD_TABLE_MAX || bytes < n_entries * ENTRY_BYTES || !p->chunk_bytes || p->chunk_bytes > CHUNK_MAX ||
	    off > p->file_bytes || bytes > p->file_bytes - off)
		return damaged(f, "its table makes no sense");
	uint8_t *table = malloc(bytes + 1);
	if (!table)
		return fault_errno(f, -ENOMEM, "payload");
	int err = 0;
	if (pread_full(p->fd, table, bytes, off) != (ssize_t)bytes || crc32_of(table, bytes) != get32(footer + 36))
		err = damaged(f, "its table does not match its checksum");
	size_t head = (size_t)n_entries * ENTRY_BYTES;
	p->n_chunks = (uint32_t)((bytes - head) / CHUNK_RECORD_BYTES);
	if (!err)
		err = read_entries(p, table, n_entries, f);
	if (!err) {
		p->chunks = malloc((size_t)p->n_chunks * CHUNK_RECORD_BYTES + 1);
		if (p->chunks)
			memcpy(p->chunks, table + head, (size_t)p->n_chunks * CHUNK_RECORD_BYTES);
		else
			err = fault_errno(f, -ENOMEM, "payload");
	}
	free(table);
	return err;
}

int payload_open(struct payload *p, int fd, struct fault *f)
{
	struct stat st;
	uint8_t footer[FOOTER_BYTES];
	*p = (struct payload){ .fd = fd };
	if (fstat(fd, &st))
		return fault_errno(f, -errno, "payload");
	p->file_bytes = (uint64_t)st.st_size;
	if (p->file_bytes < FOOTER_BYTES)
		return -ENOENT;
	if (pread_full(fd, footer, FOOTER_BYTES, p->file_bytes - FOOTER_BYTES) != FOOTER_BYTES)
		return fault_errno(f, -EIO, "payload");
	if (memcmp(footer, magic, sizeof(magic)))
		return no_footer(fd, p->file_bytes, f);
	if (crc32_of(footer, FOOTER_BYTES - 4) != get32(footer + FOOTER_BYTES - 4))
		return damaged(f, "its last bytes do not match their checksum");
	if (get64(footer + 16) != p->file_bytes)
		return damaged(f, "its length is not what it was");
	int err = read_table(p, footer, f);
	if (err)
		payload_done(p);
	return err;
}

void payload_done(struct payload *p)
{
	free(p->chunks);
	p->chunks = NULL;
	p->n_entries = p->n_chunks = 0;
}

const struct payload_entry *payload_find(const struct payload *p, const char *name)
{
	for (unsigned i = 0; i < p->n_entries; i++)
		if (!strcmp(p->entries[i].name, name))
			return &p->entries[i];
	return NULL;
}

/* One chunk to its place in out. packed and plain are scratch of chunk_bytes each (packed is never larger: it would be stored). */
static int unpack_chunk(const struct payload *p, const uint8_t *record, int out, uint64_t at, size_t len, uint8_t *packed, uint8_t *plain, struct fault *f)
{
	uint64_t off = get64(record);
	uint32_t n = get32(record + 8) & ~STORED;
	bool stored = get32(record + 8) & STORED;
	if (!get32(record + 8))
		return 0;
	if (n > p->chunk_bytes || (stored && n != len))
		return damaged(f, "a chunk has an impossible size");
	if (pread_full(p->fd, packed, n, off) != (ssize_t)n || crc32_of(packed, n) != get32(record + 12))
		return damaged(f, "a chunk does not match its checksum");
	if (!stored && lz4_block_decode(packed, n, plain, len))
		return damaged(f, "a chunk cannot be unpacked");
	int err = pwrite_full(out, stored ? packed : plain, len, at);
	return err ? fault_errno(f, err, "unpacking into memory") : 0;
}

int payload_unpack(const struct payload *p, const struct payload_entry *e, struct fault *f)
{
	AUTO_FD out = memfd_new(e->name);
	if (out < 0)
		return fault_errno(f, out, "memfd_create");
	if (ftruncate(out, (off_t)e->bytes))
		return fault_errno(f, -errno, "unpacking into memory");
	uint8_t *scratch = malloc((size_t)p->chunk_bytes * 2);
	int err = scratch ? 0 : fault_errno(f, -ENOMEM, "unpacking");
	for (uint32_t i = 0; i < e->n_chunks && !err; i++) {
		uint64_t at = (uint64_t)i * p->chunk_bytes;
		size_t len = e->bytes - at < p->chunk_bytes ? (size_t)(e->bytes - at) : p->chunk_bytes;
		err = unpack_chunk(p, p->chunks + (size_t)(e->first_chunk + i) * CHUNK_RECORD_BYTES, out, at, len, scratch, scratch + p->chunk_bytes, f);
	}
	free(scratch);
	if (!err && fcntl(out, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		err = fault_errno(f, -errno, "sealing");
	if (err)
		return err;
	int fd = out;
	out = -1;
	return fd;
}
