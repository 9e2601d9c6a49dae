/*
 * lib/wire: the one frame format that mica's processes and its guest agent speak, and the
 * message lists of each pair (agent.h, vmm.h, core.h, jail.h, netd.h beside this file).
 *
 *   frame  = u32 payload bytes | u16 type | u16 zero | u32 id | payload     (little endian)
 *   field  = u16 tag | u16 zero | u32 bytes | bytes                         (payload is fields)
 *
 * `id` ties a reply to its request (chosen by the asker; 0 = unasked). Integers travel as 8
 * bytes, strings without NUL. Unknown tags are skipped, so fields may be added; a repeated tag is a
 * list. A nested record is a field whose bytes are fields. Decoders never allocate: they
 * give views into the caller's bytes. Stands on lib/base alone. Not shared between threads.
 */
#ifndef LIB_WIRE_WIRE_H
#define LIB_WIRE_WIRE_H

#include "lib/base/buf.h"

#define WIRE_HEAD_BYTES 12u
#define WIRE_PAYLOAD_MAX 65536u /* no frame of any of our protocols is larger */
#define WIRE_FDS_MAX 32u        /* descriptors on one frame (unix sockets only) */

struct wire_msg {
	uint16_t type;
	uint32_t id;
	const uint8_t *p; /* payload, borrowed */
	uint32_t n;
};
struct wire_field {
	uint16_t tag;
	const uint8_t *p; /* borrowed */
	uint32_t n;
};
struct wire_iter {
	const uint8_t *p;
	size_t left;
};

/* -- writing: wire_begin, fields, wire_end; check b->failed (or wire_end's result) once -- */
size_t wire_begin(struct buf *b, uint16_t type, uint32_t id); /* returns a mark for wire_end */
void wire_u64(struct buf *b, uint16_t tag, uint64_t v);
void wire_bytes(struct buf *b, uint16_t tag, const void *p, size_t n);
void wire_str(struct buf *b, uint16_t tag, const char *s);    /* NULL writes nothing */
size_t wire_open(struct buf *b, uint16_t tag);                /* nested record … */
void wire_close(struct buf *b, size_t mark);                  /* … and its end */
int wire_end(struct buf *b, size_t mark);                     /* 0, -EMSGSIZE, -ENOMEM/-ENOBUFS */

/* -- reading -- */
/* Looks for one whole frame at p: 0 and *used set; -EAGAIN when more bytes are needed; -EPROTO when
 * the header breaks a rule (length over WIRE_PAYLOAD_MAX, zero field not zero). The fields are checked
 * once here, so that the getters below cannot run off the end. */
int wire_parse(const void *p, size_t n, struct wire_msg *out, size_t *used);
void wire_iter_init(struct wire_iter *it, const void *p, size_t n);
bool wire_next(struct wire_iter *it, struct wire_field *f);   /* false at the end */
/* First field of that tag. */
bool wire_get(const struct wire_msg *m, uint16_t tag, struct wire_field *f);
bool wire_get_u64(const struct wire_msg *m, uint16_t tag, uint64_t *v); /* false: absent or not 8 bytes */
/* Copies and NUL-terminates. 0; -ENOENT absent; -EMSGSIZE too long; -EINVAL holds a NUL. */
int wire_get_str(const struct wire_msg *m, uint16_t tag, char *dst, size_t cap);
/* A nested record as a message of its own. -EPROTO when its fields are broken. */
int wire_sub(const struct wire_field *f, struct wire_msg *out);
bool wire_field_u64(const struct wire_field *f, uint64_t *v);
/* malloc'ed copy with NUL; NULL when out of memory or it holds a NUL byte. */
char *wire_field_dup(const struct wire_field *f);

/* Type and tags every protocol shares: the refusal. */
#define WIRE_ERR 1u         /* reply: refused or failed */
#define WIRE_OK 2u          /* reply: done, fields as declared */
#define WIRE_T_STATUS 1u    /* u64: HTTP status that fits (400, 404, 409, 500, 503, …) */
#define WIRE_T_TEXT 2u      /* str: one sentence: what, why, how to mend it */
#define WIRE_T_ERRNO 3u     /* u64: positive errno, when there is one */
#define WIRE_T_CODE 4u      /* str: short stable word for programs */

#endif
