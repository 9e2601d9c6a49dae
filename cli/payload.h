/*
 * cli/payload: what stands behind the program in the one file: the other programs, kernels and the guest image, in
 * independent LZ4 chunks. Written by tools/pack.py, which holds the same layout. A file that was cut or changed is told apart
 * from one that never had a payload. Everything is checked before use; only what is asked for is unpacked. Room card: cli.h.
 *
 *   program | chunks | table | footer          all numbers little endian
 *   footer (64 bytes, last): magic 16 | u64 file bytes | u64 table offset | u32 table bytes | u32 table CRC | u32 entries | u32 chunk
 *                            bytes | zero 12 | u32 CRC of the 60 before
 *   table:  entries × (name 24 | u64 bytes | u64 packed bytes | u32 first chunk | u32 chunks | zero 16) then
 *           chunks × (u64 offset | u32 packed bytes, bit 31: stored as it is; 0: all zero | u32 CRC of the packed bytes)
 */
#ifndef CLI_PAYLOAD_H
#define CLI_PAYLOAD_H

#include "lib/base/base.h"

#define PAYLOAD_NAME_MAX 24u
#define PAYLOAD_ENTRIES_MAX 64u
#define PAYLOAD_TABLE_MAX (8u << 20)

struct payload_entry {
	char name[PAYLOAD_NAME_MAX];
	uint64_t bytes, packed_bytes;
	uint32_t first_chunk, n_chunks;
};
struct payload {
	int fd;              /* borrowed; the file */
	uint64_t file_bytes;
	uint32_t chunk_bytes;
	unsigned n_entries;
	struct payload_entry entries[PAYLOAD_ENTRIES_MAX];
	uint8_t *chunks;     /* owned */
	uint32_t n_chunks;
};

/* 0; -ENOENT: this file has no payload; -EBADMSG: it had one and was cut or damaged (f says so); other -errno. */
int payload_open(struct payload *p, int fd, struct fault *f);
void payload_done(struct payload *p);
const struct payload_entry *payload_find(const struct payload *p, const char *name);
/* Unpacks into a new sealed memfd (zero chunks stay holes). fd or -errno. */
int payload_unpack(const struct payload *p, const struct payload_entry *e, struct fault *f);

/* CRC-32 (ISO 3309, as in zlib). */
uint32_t crc32_of(const void *p, size_t n);

#endif
