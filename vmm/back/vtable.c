/* All streams of one guest. See vtable.h. */
#include "vmm/back/vtable.h"

#include <stdlib.h>
#include <string.h>

#define HOST_PORT_FIRST 0x40000000u

void vtable_init(struct vtable *t, unsigned streams_max, uint64_t budget_bytes, uint32_t alloc_min_bytes, uint32_t alloc_max_bytes)
{
	memset(t, 0, sizeof(*t));
	t->todo_tail = &t->todo;
	t->streams_max = streams_max;
	t->budget_bytes = budget_bytes;
	t->alloc_min_bytes = alloc_min_bytes;
	t->alloc_max_bytes = alloc_max_bytes;
	t->next_port = HOST_PORT_FIRST;
	if (random_fill(&t->seed, sizeof(t->seed)))
		t->seed = (uint32_t)now_mono_ns(); /* slower chains are the worst that can come of it */
}

/* Mixes both ports with the seed (multiply, fold): enough against a guest that picks ports to collide. */
static unsigned hash(const struct vtable *t, uint32_t host_port, uint32_t guest_port)
{
	uint64_t x = ((uint64_t)host_port << 32 | guest_port) ^ ((uint64_t)t->seed << 16 | t->seed);

	x *= 0x9E3779B97F4A7C15ull;
	x ^= x >> 29;
	x *= 0xBF58476D1CE4E5B9ull;
	return (unsigned)(x >> 40) % VTABLE_BUCKETS;
}

struct vstream *vtable_find(struct vtable *t, uint32_t host_port, uint32_t guest_port)
{
	struct vstream *s = t->bucket[hash(t, host_port, guest_port)];

	while (s && (s->host_port != host_port || s->guest_port != guest_port))
		s = s->hash_next;
	return s;
}

/* Every stream that may still come keeps its minimum. */
static uint32_t grant(struct vtable *t)
{
	uint64_t reserved = (uint64_t)(t->streams_max - t->streams) * t->alloc_min_bytes;
	uint64_t left = t->budget_bytes - t->granted_bytes;

	return left >= reserved + t->alloc_max_bytes - t->alloc_min_bytes ? t->alloc_max_bytes : t->alloc_min_bytes;
}

struct vstream *vtable_add(struct vtable *t, uint32_t host_port, uint32_t guest_port)
{
	unsigned h = hash(t, host_port, guest_port);
	struct vstream *s;

	if (t->streams >= t->streams_max)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->host_port = host_port;
	s->guest_port = guest_port;
	s->fd = s->peer_fd = s->io.fd = -1;
	s->buf_alloc = grant(t);
	buf_init(&s->to_host, s->buf_alloc);
	t->granted_bytes += s->buf_alloc;
	t->streams++;
	s->hashed = true;
	s->hash_next = t->bucket[h];
	t->bucket[h] = s;
	s->next = t->all;
	if (t->all)
		t->all->prev = s;
	t->all = s;
	return s;
}

uint32_t vtable_free_port(struct vtable *t, uint32_t guest_port)
{
	uint32_t port;

	do { /* ends: there are more ports than streams */
		port = t->next_port++;
		if (t->next_port == UINT32_MAX)
			t->next_port = HOST_PORT_FIRST;
	} while (vtable_find(t, port, guest_port));
	return port;
}

void vtable_unhash(struct vtable *t, struct vstream *s)
{
	struct vstream **at = &t->bucket[hash(t, s->host_port, s->guest_port)];

	if (!s->hashed)
		return;
	while (*at != s)
		at = &(*at)->hash_next;
	*at = s->hash_next;
	s->hashed = false;
}

void vtable_remove(struct vtable *t, struct vstream *s)
{
	vtable_unhash(t, s);
	vtable_todo_del(t, s);
	if (s->prev)
		s->prev->next = s->next;
	else
		t->all = s->next;
	if (s->next)
		s->next->prev = s->prev;
	t->granted_bytes -= s->buf_alloc;
	t->streams--;
	free(s);
}

void vtable_todo_add(struct vtable *t, struct vstream *s)
{
	if (s->todo_at)
		return;
	s->todo_next = NULL;
	s->todo_at = t->todo_tail;
	*t->todo_tail = s;
	t->todo_tail = &s->todo_next;
}

void vtable_todo_del(struct vtable *t, struct vstream *s)
{
	if (!s->todo_at)
		return;
	*s->todo_at = s->todo_next;
	if (s->todo_next)
		s->todo_next->todo_at = s->todo_at;
	else
		t->todo_tail = s->todo_at;
	s->todo_at = NULL;
}
