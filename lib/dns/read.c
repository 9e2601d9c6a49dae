#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/dns/dns.h"

#define OPCODE(flags) ((flags) >> 11 & 15)
#define RECORDS_MAX 512u /* of one message that are looked at */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* ---- names ---- */

/* The name at *at, uncompressed and in lower case, into wire (DNS_NAME_WIRE_MAX); *at goes behind it. Its length or -EPROTO. A pointer must point
 * before where its own name began, and each further one before that: so the walk ends. */
static int read_name(const uint8_t *p, size_t n, size_t *at, uint8_t *wire)
{
	size_t pos = *at, limit = *at, len = 0;
	bool jumped = false;

	for (;;) {
		uint8_t l;

		if (pos >= n)
			return -EPROTO;
		l = p[pos];
		if (l >= 0xc0) {
			size_t to;

			if (pos + 2 > n)
				return -EPROTO;
			to = (size_t)(l & 0x3f) << 8 | p[pos + 1];
			if (!jumped)
				*at = pos + 2;
			if (to >= limit || to < DNS_HEAD_BYTES)
				return -EPROTO;
			jumped = true;
			pos = limit = to;
			continue;
		}
		if (l > 63 || pos + 1 + l > n || len + 1 + l + (l ? 1 : 0) > DNS_NAME_WIRE_MAX)
			return -EPROTO;
		wire[len++] = l;
		for (unsigned i = 1; i <= l; i++) {
			uint8_t c = p[pos + i];

			wire[len++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
		}
		pos += 1u + l;
		if (!l)
			break;
	}
	if (!jumped)
		*at = pos;
	return (int)len;
}

static void to_text(const uint8_t *wire, char *out)
{
	size_t at = 0;

	while (*wire) {
		if (at)
			out[at++] = '.';
		for (unsigned l = *wire++; l; l--, wire++) {
			bool plain = (*wire >= 'a' && *wire <= 'z') || (*wire >= '0' && *wire <= '9') || *wire == '-' || *wire == '_';

			if (plain)
				out[at++] = (char)*wire;
			else
				at += (size_t)snprintf(out + at, 5, "\\%03u", *wire);
		}
	}
	if (!at)
		out[at++] = '.';
	out[at] = '\0';
}

/* ---- records ---- */

struct rr {
	uint8_t name[DNS_NAME_WIRE_MAX];
	int name_len;
	uint16_t type, class;
	uint32_t ttl;
	size_t ttl_at, data_at, data_len, begin;
};

static int read_rr(const uint8_t *p, size_t n, size_t *at, struct rr *r)
{
	r->begin = *at;
	r->name_len = read_name(p, n, at, r->name);
	if (r->name_len < 0 || n - *at < 10)
		return -EPROTO;
	r->type = be16(p + *at);
	r->class = be16(p + *at + 2);
	r->ttl = be32(p + *at + 4);
	if (r->ttl > INT32_MAX) /* RFC 2181 §8 */
		r->ttl = 0;
	r->ttl_at = *at + 4;
	r->data_len = be16(p + *at + 8);
	r->data_at = *at + 10;
	if (n - r->data_at < r->data_len)
		return -EPROTO;
	*at = r->data_at + r->data_len;
	return 0;
}

/* ---- a question ---- */

static void read_opt(const struct rr *r, struct dns_query *q)
{
	size_t max = r->class < DNS_PLAIN_MAX ? DNS_PLAIN_MAX : r->class;

	q->edns = true;
	q->dnssec_ok = r->ttl & 0x8000;
	q->udp_max = max > DNS_UDP_MAX ? DNS_UDP_MAX : max;
}

int dns_read_query(const void *msg, size_t n, struct dns_query *q)
{
	const uint8_t *p = msg;
	size_t at = DNS_HEAD_BYTES;
	unsigned extra;
	int len;

	*q = (struct dns_query){ .udp_max = DNS_PLAIN_MAX };
	if (n < DNS_HEAD_BYTES || n > DNS_MESSAGE_MAX)
		return -EBADMSG;
	q->id = be16(p);
	q->flags = be16(p + 2);
	if (q->flags & DNS_QR)
		return -EBADMSG;
	if (OPCODE(q->flags))
		return -EOPNOTSUPP;
	extra = be16(p + 10);
	if (be16(p + 4) != 1 || be16(p + 6) || be16(p + 8) || extra > 4)
		return -EINVAL;
	len = read_name(p, n, &at, q->wire);
	if (len < 0 || n - at < 4 || at != DNS_HEAD_BYTES + (size_t)len) /* a question is not compressed */
		return -EINVAL;
	to_text(q->wire, q->name);
	q->type = be16(p + at);
	q->class = be16(p + at + 2);
	q->wire_len = (size_t)len + 4;
	memcpy(q->wire, p + DNS_HEAD_BYTES, q->wire_len); /* as it came, upper case too */
	at += 4;
	for (unsigned i = 0; i < extra; i++) {
		struct rr r;

		if (read_rr(p, n, &at, &r) || (r.type == DNS_OPT && (q->edns || r.name_len != 1))) {
			q->wire_len = 0;
			return -EINVAL;
		}
		if (r.type == DNS_OPT)
			read_opt(&r, q);
	}
	return 0;
}

/* ---- an answer ---- */

static bool same_question(const uint8_t *p, size_t n, const struct dns_query *q)
{
	size_t name_len = q->wire_len - 4;

	if (n - DNS_HEAD_BYTES < q->wire_len || memcmp(p + DNS_HEAD_BYTES + name_len, q->wire + name_len, 4) != 0)
		return false;
	for (size_t i = 0; i < name_len; i++) { /* lengths of labels are no letters, so that folding leaves them apart */
		uint8_t a = p[DNS_HEAD_BYTES + i], b = q->wire[i];

		a = a >= 'A' && a <= 'Z' ? (uint8_t)(a | 32) : a;
		b = b >= 'A' && b <= 'Z' ? (uint8_t)(b | 32) : b;
		if (a != b)
			return false;
	}
	return true;
}

struct walk {
	uint8_t name[DNS_NAME_WIRE_MAX]; /* where the chain of CNAMEs stands */
	int name_len;
	uint32_t ttl;                    /* least of the chain so far */
};

static int add_addr(const uint8_t *p, const struct rr *r, const struct walk *w, struct dns_answer *a)
{
	size_t len = r->type == DNS_A ? 4 : 16;
	struct dns_addr *to;

	if (r->data_len != len)
		return -EPROTO;
	if (a->n_addrs == DNS_ADDRS_MAX)
		return 0;
	to = &a->addrs[a->n_addrs++];
	*to = (struct dns_addr){ .family = r->type == DNS_A ? 4 : 6, .ttl_s = r->ttl < w->ttl ? r->ttl : w->ttl };
	memcpy(to->addr, p + r->data_at, len);
	return 0;
}

/* One pass over the answers for the name where the chain stands: 1 it went on to another name, 0 it ends here, or -EPROTO. */
static int pass(const uint8_t *p, size_t n, size_t from, unsigned count, const struct dns_query *q, struct walk *w, struct dns_answer *a)
{
	size_t at = from;

	for (unsigned i = 0; i < count; i++) {
		struct rr r;

		if (read_rr(p, n, &at, &r))
			return -EPROTO;
		if (r.class != DNS_CLASS_IN || r.name_len != w->name_len || memcmp(r.name, w->name, (size_t)r.name_len) != 0)
			continue;
		if (r.type == q->type && add_addr(p, &r, w, a))
			return -EPROTO;
		if (r.type == DNS_CNAME && !a->n_addrs) {
			size_t data = r.data_at;

			w->name_len = read_name(p, r.data_at + r.data_len, &data, w->name);
			w->ttl = r.ttl < w->ttl ? r.ttl : w->ttl;
			return w->name_len < 0 ? -EPROTO : 1;
		}
	}
	return 0;
}

static int read_chain(const uint8_t *p, size_t n, size_t from, unsigned count, const struct dns_query *q, struct dns_answer *a)
{
	struct walk w = { .ttl = UINT32_MAX };
	size_t at = DNS_HEAD_BYTES;
	int r = 1;

	w.name_len = read_name(p, n, &at, w.name);
	for (unsigned i = 0; r == 1 && i <= DNS_CHAIN_MAX; i++)
		r = w.name_len < 0 ? -EPROTO : pass(p, n, from, count, q, &w, a);
	return r < 0 ? r : 0;
}

/* The least TTL; of an SOA also its last number (RFC 2308 §5). Checks that every record is whole. */
static int read_ttls(const uint8_t *p, size_t n, size_t at, unsigned count, struct dns_answer *a)
{
	uint32_t least = UINT32_MAX;

	for (unsigned i = 0; i < count; i++) {
		struct rr r;

		if (read_rr(p, n, &at, &r))
			return -EPROTO;
		if (r.type == DNS_OPT)
			continue;
		least = r.ttl < least ? r.ttl : least;
		if (r.type == DNS_SOA && r.data_len >= 20) {
			uint32_t negative = be32(p + r.data_at + r.data_len - 4);

			least = negative < least ? negative : least;
		}
	}
	a->ttl_s = least == UINT32_MAX ? 0 : least;
	return 0;
}

int dns_read_answer(const void *msg, size_t n, const struct dns_query *q, uint16_t id, struct dns_answer *a)
{
	const uint8_t *p = msg;
	unsigned answers, all;

	*a = (struct dns_answer){ 0 };
	if (n < DNS_HEAD_BYTES || be16(p) != id || !(be16(p + 2) & DNS_QR) || OPCODE(be16(p + 2)) || be16(p + 4) != 1 || !same_question(p, n, q))
		return -EBADMSG;
	a->flags = be16(p + 2);
	a->rcode = a->flags & 15;
	a->truncated = a->flags & DNS_TC;
	if (a->truncated) /* nothing in it counts */
		return 0;
	answers = be16(p + 6);
	all = answers + be16(p + 8) + be16(p + 10);
	if (all > RECORDS_MAX || read_ttls(p, n, DNS_HEAD_BYTES + q->wire_len, all, a))
		return -EPROTO;
	if (a->rcode == DNS_NOERROR && q->class == DNS_CLASS_IN && (q->type == DNS_A || q->type == DNS_AAAA))
		return read_chain(p, n, DNS_HEAD_BYTES + q->wire_len, answers, q, a);
	return 0;
}

/* ---- changing what was read ---- */

static size_t behind_question(const uint8_t *p, size_t n)
{
	uint8_t name[DNS_NAME_WIRE_MAX];
	size_t at = DNS_HEAD_BYTES;

	return read_name(p, n, &at, name) < 0 || n - at < 4 ? n : at + 4;
}

void dns_age(void *msg, size_t n, uint32_t age_s, uint32_t max_s)
{
	uint8_t *p = msg;
	size_t at = behind_question(p, n);
	unsigned count = (unsigned)be16(p + 6) + be16(p + 8) + be16(p + 10);
	struct rr r;

	for (unsigned i = 0; i < count && i < RECORDS_MAX && !read_rr(p, n, &at, &r); i++) {
		uint32_t ttl = r.ttl > age_s ? r.ttl - age_s : 0;

		if (r.type == DNS_OPT)
			continue;
		ttl = htonl(ttl > max_s ? max_s : ttl);
		memcpy(p + r.ttl_at, &ttl, 4);
	}
}

size_t dns_strip_edns(void *msg, size_t n)
{
	uint8_t *p = msg;
	size_t at = behind_question(p, n);
	unsigned extra = be16(p + 10), count = (unsigned)be16(p + 6) + be16(p + 8) + extra;
	struct rr r = { .type = 0 };

	for (unsigned i = 0; i < count; i++)
		if (i >= RECORDS_MAX || read_rr(p, n, &at, &r))
			return n;
	if (!extra || r.type != DNS_OPT || at != n)
		return n;
	extra--;
	p[10] = (uint8_t)(extra >> 8);
	p[11] = (uint8_t)extra;
	return r.begin;
}

/* ---- names that are addresses ---- */

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static unsigned reverse6(const char *name, uint8_t addr[16])
{
	for (unsigned i = 0; i < 32; i++) {
		int v = nibble(name[2 * i]);

		if (v < 0 || name[2 * i + 1] != '.')
			return 0;
		addr[15 - i / 2] |= (uint8_t)(i & 1 ? v << 4 : v);
	}
	return strcmp(name + 64, "ip6.arpa") == 0 ? 6 : 0;
}

unsigned dns_reverse(const char *name, uint8_t addr[16])
{
	static const char tail[] = ".in-addr.arpa";
	size_t n = strlen(name);
	unsigned b[4];
	char text[16], back[40];

	memset(addr, 0, 16);
	if (n == 64 + 8)
		return reverse6(name, addr);
	if (n <= sizeof(tail) - 1 || n - (sizeof(tail) - 1) >= sizeof(text) || strcmp(name + n - (sizeof(tail) - 1), tail) != 0)
		return 0;
	memcpy(text, name, n - (sizeof(tail) - 1));
	text[n - (sizeof(tail) - 1)] = '\0';
	if (sscanf(text, "%3u.%3u.%3u.%3u", &b[0], &b[1], &b[2], &b[3]) != 4)
		return 0;
	snprintf(back, sizeof(back), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	if (strcmp(back, text) != 0 || b[0] > 255 || b[1] > 255 || b[2] > 255 || b[3] > 255)
		return 0;
	for (unsigned i = 0; i < 4; i++)
		addr[i] = (uint8_t)b[3 - i];
	return 4;
}
