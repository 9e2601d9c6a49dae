#include "api/front/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "api/front/front.h"

#define FILES_KEPT 64u /* channel, listeners, epoll, and what core hands over meanwhile */
#define LATE_MAX_MS 86400000u

void limits_init(struct limits *l, uint64_t files_max)
{
	uint64_t fit = files_max > 4 * FILES_KEPT ? (files_max - FILES_KEPT) / 2 : FILES_KEPT; /* each may need an agent's stream */

	*l = (struct limits){ .handshake = HANDSHAKE_TIMEOUT_MS, .first = FIRST_TIMEOUT_MS, .head = HEAD_TIMEOUT_MS, .idle = IDLE_TIMEOUT_MS,
			      .body = BODY_TIMEOUT_MS, .conns = fit < CONNS_MAX ? fit : CONNS_MAX };
}

int limits_flag(struct limits *l, const char *flag, const char *value)
{
	static const struct { const char *flag; size_t at; uint64_t max; } rows[] = {
		{ "--handshake-ms", offsetof(struct limits, handshake), LATE_MAX_MS }, { "--first-ms", offsetof(struct limits, first), LATE_MAX_MS },
		{ "--head-ms", offsetof(struct limits, head), LATE_MAX_MS }, { "--idle-ms", offsetof(struct limits, idle), LATE_MAX_MS },
		{ "--body-ms", offsetof(struct limits, body), LATE_MAX_MS }, { "--conns", offsetof(struct limits, conns), CONNS_MAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v;

		if (strcmp(rows[i].flag, flag) != 0)
			continue;
		if (parse_u64(value, rows[i].max, &v) || v == 0)
			return -EINVAL;
		memcpy((char *)l + rows[i].at, &v, sizeof(v));
		return 0;
	}
	return -ENOENT;
}

/* ---- counting ---- */

static const char *const words[REJECTS] = {
	[REJECT_HEAD] = "head", [REJECT_HEAD_SIZE] = "head_size", [REJECT_FRAMING] = "framing", [REJECT_VERSION] = "version",
	[REJECT_EXPECT] = "expectation", [REJECT_TARGET] = "target", [REJECT_CHUNK] = "chunk", [REJECT_BODY_SIZE] = "body_size",
	[REJECT_JSON] = "json", [REJECT_AUTH] = "auth", [REJECT_WS_OPEN] = "websocket_open", [REJECT_WS_FRAME] = "websocket_frame",
	[REJECT_TLS_PLAIN] = "tls_plain", [REJECT_TLS] = "tls", [REJECT_TLS_LATE] = "tls_late", [REJECT_FIRST_LATE] = "first_byte_late",
	[REJECT_HEAD_LATE] = "head_late", [REJECT_BODY_LATE] = "body_late", [REJECT_EVICTED] = "evicted", [REJECT_FULL] = "full",
};

void rejects_put(const struct rejects *r, struct buf *out)
{
	family_put(out, "mica_http_rejected_total", "counter", "What clients sent or did that was refused, by reason.");
	for (unsigned i = 0; i < REJECTS; i++)
		buf_printf(out, "mica_http_rejected_total{reason=\"%s\"} %" PRIu64 "\n", words[i], r->n[i]);
}

enum reject reject_of(const struct http_refusal *why)
{
	if (why->framing)
		return REJECT_FRAMING;
	switch (why->status) {
	case 414:
	case 431:
		return REJECT_HEAD_SIZE;
	case 417:
		return REJECT_EXPECT;
	case 505:
		return REJECT_VERSION;
	}
	return REJECT_HEAD;
}

/* ---- who goes ---- */

static void evict(struct conn *c)
{
	c->front->rejects.n[REJECT_EVICTED]++;
	conn_break(c);
	conn_settle(c);
}

/* From the oldest on, so that among many idle ones the walk is short. A connection with a request at work is never ended for another. */
bool guard_evict(struct front *f)
{
	struct conn *known = NULL;

	for (struct conn *c = f->oldest; c; c = c->prev) {
		if (c->state == CONN_REQUEST)
			continue;
		if (!c->trusted) {
			evict(c);
			return true;
		}
		if (!known || c->since_ms < known->since_ms)
			known = c;
	}
	if (known)
		evict(known);
	return known != NULL;
}

bool guard_room(struct front *f)
{
	if (f->n_conns < f->limits.conns || guard_evict(f))
		return true;
	f->rejects.n[REJECT_FULL]++;
	return false;
}

/* ---- time ---- */

static bool ended(struct conn *c, enum reject why)
{
	c->front->rejects.n[why]++;
	conn_break(c);
	return true;
}

bool guard_late(struct conn *c, uint64_t now_ms)
{
	const struct limits *l = &c->front->limits;
	uint64_t age = now_ms - c->since_ms;

	if (c->state != CONN_HEAD)
		return false;
	if (c->secure && !c->secure->up)
		return age > l->handshake && ended(c, REJECT_TLS_LATE);
	if (c->head) {
		if (age <= l->head)
			return false;
		c->front->rejects.n[REJECT_HEAD_LATE]++;
		conn_refuse(c, 408, "the request did not arrive in time");
		return true;
	}
	if (!c->trusted)
		return age > l->first && ended(c, REJECT_FIRST_LATE);
	if (age <= l->idle)
		return false;
	conn_break(c);
	return true;
}
