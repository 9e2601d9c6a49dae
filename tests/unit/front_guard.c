/* front's guard: who goes when the table is full, how long a connection may rest, what its flags take. The connection itself is made up. */
#include <errno.h>
#include <string.h>

#include "api/front/front.h"
#include "tests/unit/tap.h"

static struct conn *broken[8];
static unsigned n_broken;
static int refused;

void conn_break(struct conn *c)
{
	broken[n_broken++ & 7] = c;
}

/* As conn_free() does it. */
void conn_settle(struct conn *c)
{
	struct front *f = c->front;

	*(c->prev ? &c->prev->next : &f->conns) = c->next;
	*(c->next ? &c->next->prev : &f->oldest) = c->prev;
	f->n_conns--;
}

void conn_refuse(struct conn *c, int status, const char *text)
{
	(void)c;
	(void)text;
	refused = status;
}

static struct front front;
static struct conn conns[4]; /* 0 is the newest */

static void fill(void)
{
	memset(&front, 0, sizeof(front));
	memset(conns, 0, sizeof(conns));
	limits_init(&front.limits, 1u << 20);
	front.limits.conns = ARRAY_LEN(conns);
	for (size_t i = 0; i < ARRAY_LEN(conns); i++)
		conns[i] = (struct conn){ .front = &front, .state = CONN_HEAD, .since_ms = 1000 - i, .trusted = true,
					  .next = i + 1 < ARRAY_LEN(conns) ? &conns[i + 1] : NULL, .prev = i ? &conns[i - 1] : NULL };
	front.conns = &conns[0];
	front.oldest = &conns[3];
	front.n_conns = ARRAY_LEN(conns);
	n_broken = 0;
	refused = 0;
}

static void test_room(void)
{
	fill();
	front.n_conns = 3;
	ok(guard_room(&front) && n_broken == 0, "room enough: nobody goes");
	fill();
	conns[1].trusted = conns[2].trusted = false;
	ok(guard_room(&front) && n_broken == 1 && broken[0] == &conns[2], "full: the oldest that showed no right goes, though a known one is older");
	ok(front.rejects.n[REJECT_EVICTED] == 1 && front.n_conns == 3, "and is counted");
	front.n_conns = 4;
	ok(guard_room(&front) && broken[1] == &conns[1], "then the next of these");
	fill();
	conns[3].since_ms = 5000;
	ok(guard_room(&front) && broken[0] == &conns[2], "all known: the one that rests longest goes");
	fill();
	for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
		conns[i].state = CONN_REQUEST;
		conns[i].trusted = i != 0;
	}
	ok(!guard_room(&front) && n_broken == 0 && front.rejects.n[REJECT_FULL] == 1, "all at work: nobody goes, the newcomer is counted");
	conns[3].state = CONN_LINGER;
	ok(guard_evict(&front) && broken[0] == &conns[3], "one that only lingers may go");
}

static void test_late(void)
{
	struct conn *c = &conns[0];
	struct secure tls = { 0 };
	struct http_head head;

	fill();
	c->since_ms = 0;
	c->trusted = false;
	ok(!guard_late(c, FIRST_TIMEOUT_MS) && guard_late(c, FIRST_TIMEOUT_MS + 1) && front.rejects.n[REJECT_FIRST_LATE] == 1, "the first byte's time");
	c->trusted = true;
	ok(!guard_late(c, IDLE_TIMEOUT_MS) && guard_late(c, IDLE_TIMEOUT_MS + 1), "a known client may rest longer");
	c->head = &head;
	ok(!guard_late(c, HEAD_TIMEOUT_MS) && guard_late(c, HEAD_TIMEOUT_MS + 1) && refused == 408 && front.rejects.n[REJECT_HEAD_LATE] == 1, "a slow head: 408");
	c->secure = &tls;
	ok(guard_late(c, HANDSHAKE_TIMEOUT_MS + 1) && front.rejects.n[REJECT_TLS_LATE] == 1, "a slow handshake");
	c->state = CONN_REQUEST;
	ok(!guard_late(c, UINT64_MAX), "a request at work has its own time");
}

static void test_limits(void)
{
	struct limits l;
	struct buf b;

	limits_init(&l, 1u << 20);
	ok(l.conns == CONNS_MAX && l.first < l.idle, "defaults");
	limits_init(&l, 1024);
	ok(l.conns == 480, "with 1024 files: %u connections", (unsigned)l.conns);
	limits_init(&l, 0);
	ok(l.conns > 0, "never none");
	ok(!limits_flag(&l, "--head-ms", "250") && l.head == 250 && !limits_flag(&l, "--conns", "7") && l.conns == 7, "flags");
	ok(limits_flag(&l, "--tail-ms", "1") == -ENOENT && limits_flag(&l, "--head-ms", "x") == -EINVAL && limits_flag(&l, "--head-ms", "0") == -EINVAL &&
	   limits_flag(&l, "--conns", "99999999") == -EINVAL && l.head == 250, "and what they refuse");
	ok(reject_of(&(struct http_refusal){ .status = 400 }) == REJECT_HEAD && reject_of(&(struct http_refusal){ .status = 501, .framing = true }) == REJECT_FRAMING &&
	   reject_of(&(struct http_refusal){ .status = 431 }) == REJECT_HEAD_SIZE && reject_of(&(struct http_refusal){ .status = 505 }) == REJECT_VERSION, "reasons");
	buf_init(&b, 1u << 16);
	front.rejects.n[REJECT_CHUNK] = 3;
	rejects_put(&front.rejects, &b);
	ok(strstr(buf_cstr(&b), "mica_http_rejected_total{reason=\"chunk\"} 3\n") && !strstr(buf_cstr(&b), "(null)"), "every reason has its word");
	buf_done(&b);
}

int main(void)
{
	test_room();
	test_late();
	test_limits();
	return tap_done();
}
