#include "lib/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){.max = max_bytes};
}

void buf_done(struct buf *b)
{
	free(b->mem);
	b->mem = NULL;
	b->cap = b->head = b->tail = 0;
}

void buf_clear(struct buf *b)
{
	b->head = b->tail = 0;
	b->failed = false;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
	size_t len = buf_len(b);
	if (b->failed || n > b->max || len > b->max - n) {
		b->failed = true;
		return NULL;
	}
	if (b->cap - b->tail >= n)
		return b->mem + b->tail;
	/* Moving is cheaper than growing as long as it frees at least half of the memory: amortised O(1). */
	if (b->head >= b->cap / 2 && b->cap - len >= n) {
		memmove(b->mem, b->mem + b->head, len);
	} else {
		size_t want = b->cap ? b->cap * 2 : 256;
		while (want < len + n)
			want *= 2;
		if (want > b->max)
			want = b->max > len + n ? b->max : len + n;
		uint8_t *mem = malloc(want);
		if (!mem) {
			b->failed = true;
			return NULL;
		}
		if (len)
			memcpy(mem, b->mem + b->head, len);
		free(b->mem);
		b->mem = mem;
		b->cap = want;
	}
	b->head = 0;
	b->tail = len;
	return b->mem + b->tail;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return b->failed ? -ENOBUFS : 0;
	uint8_t *to = buf_room(b, n);
	if (!to)
		return n > b->max || buf_len(b) > b->max - n ? -ENOBUFS : -ENOMEM;
	memcpy(to, p, n);
	b->tail += n;
	return 0;
}

int buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	uint8_t *to = buf_room(b, (size_t)n + 1); /* vsnprintf writes the NUL too */
	if (!to)
		return -ENOBUFS;
	va_start(ap, fmt);
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->tail += (size_t)n;
	return 0;
}

void buf_eat(struct buf *b, size_t n)
{
	b->head += n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

const char *buf_cstr(struct buf *b)
{
	if (b->failed)
		return NULL;
	uint8_t *end = buf_room(b, 1);
	if (!end) {
		return NULL;
	}
	*end = '\0';
	return (const char *)buf_data(b);
}

ssize_t buf_read_fd(struct buf *b, int fd, size_t n)
{
	size_t len = buf_len(b), room = b->max > len ? b->max - len : 0;
	if (n > room)
		n = room;
	if (n == 0)
		return -ENOBUFS;
	uint8_t *to = buf_room(b, n);
	if (!to)
		return -ENOMEM;
	ssize_t got;
	do
		got = read(fd, to, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	b->tail += (size_t)got;
	return got;
}

int buf_write_fd(struct buf *b, int fd)
{
	while (buf_len(b)) {
		ssize_t n = write(fd, buf_data(b), buf_len(b));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf_eat(b, (size_t)n);
	}
	return 0;
}
