/*
 * A growable byte buffer with a hard cap: what queues bytes between a parser and a
 * descriptor. Consuming from the front is O(1) amortised. Not shared between threads.
 * On allocation failure or beyond `max` it turns "failed": later appends do nothing, so a
 * writer may append freely and check once.
 */
#ifndef LIB_BASE_BUF_H
#define LIB_BASE_BUF_H

#include "lib/base/base.h"

struct buf {
	uint8_t *mem;  /* owned */
	size_t cap;    /* bytes allocated */
	size_t head;   /* first unread byte */
	size_t tail;   /* one past the last byte */
	size_t max;    /* most unread bytes allowed */
	bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b); /* frees; safe on a zeroed struct */
static inline size_t buf_len(const struct buf *b) { return b->tail - b->head; }
static inline uint8_t *buf_data(const struct buf *b) { return b->mem ? b->mem + b->head : NULL; }
void buf_clear(struct buf *b);              /* keeps the memory, clears `failed` */
int buf_add(struct buf *b, const void *p, size_t n); /* 0, -ENOMEM, -ENOBUFS (over max) */
int buf_adds(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n more bytes at the tail, or NULL (failed is set). Follow with buf_grew(). */
uint8_t *buf_room(struct buf *b, size_t n);
static inline void buf_grew(struct buf *b, size_t n) { b->tail += n; }
void buf_eat(struct buf *b, size_t n);      /* drops n <= buf_len bytes from the front */
/* NUL-terminated view of the content (the NUL is not counted); NULL when failed. */
const char *buf_cstr(struct buf *b);
/* One read(2) of at most n bytes into the tail: bytes, 0 at end, -errno (-EAGAIN, -ENOBUFS when full). */
ssize_t buf_read_fd(struct buf *b, int fd, size_t n);
/* Writes as much as the descriptor takes: 0 all gone, -EAGAIN some left, other -errno. */
int buf_write_fd(struct buf *b, int fd);

#endif
