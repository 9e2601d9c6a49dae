#include <string.h>

#include "lib/dns/dns.h"

#define OPT_BYTES 11u
#define NAME_POINTER 0xc00c /* to the question's name */

static uint8_t *put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, v >> 16), v & 0xffff);
}

static uint8_t *put_opt(uint8_t *p, unsigned udp_max, bool dnssec_ok)
{
	*p++ = 0;
	p = put16(p, DNS_OPT);
	p = put16(p, udp_max);
	p = put32(p, dnssec_ok ? 0x8000 : 0);
	return put16(p, 0);
}

static uint8_t *put_head(uint8_t *p, uint16_t id, unsigned flags, const struct dns_query *q, unsigned answers, bool opt)
{
	p = put16(p, id);
	p = put16(p, flags);
	p = put16(p, q->wire_len ? 1 : 0);
	p = put16(p, answers);
	p = put16(p, 0);
	p = put16(p, opt);
	memcpy(p, q->wire, q->wire_len);
	return p + q->wire_len;
}

static unsigned answer_flags(const struct dns_query *q, unsigned rcode, bool authoritative)
{
	return DNS_QR | (q->flags & 0x7800) | (q->flags & (DNS_RD | DNS_CD)) | DNS_RA | (authoritative ? DNS_AA : 0) | rcode;
}

size_t dns_write_query(uint8_t *out, const struct dns_query *q, uint16_t id)
{
	uint8_t *p = put_head(out, id, DNS_RD | (q->flags & (DNS_CD | DNS_AD)), q, 0, true);

	return (size_t)(put_opt(p, DNS_UDP_MAX, q->dnssec_ok) - out);
}

size_t dns_write_empty(uint8_t *out, const struct dns_query *q, enum dns_rcode rcode, bool authoritative, bool truncated)
{
	uint8_t *p = put_head(out, q->id, answer_flags(q, rcode, authoritative) | (truncated ? DNS_TC : 0), q, 0, q->edns);

	return (size_t)((q->edns ? put_opt(p, DNS_UDP_MAX, q->dnssec_ok) : p) - out);
}

static uint8_t *put_rr_head(uint8_t *p, unsigned type, uint32_t ttl_s, unsigned len)
{
	p = put16(p, NAME_POINTER);
	p = put16(p, type);
	p = put16(p, DNS_CLASS_IN);
	p = put32(p, ttl_s);
	return put16(p, len);
}

size_t dns_write_addrs(uint8_t *out, size_t cap, const struct dns_query *q, const struct dns_addr *addrs, unsigned n, bool authoritative)
{
	unsigned len = q->type == DNS_A ? 4 : 16, done = 0;
	uint8_t *p = put_head(out, q->id, answer_flags(q, DNS_NOERROR, authoritative), q, 0, q->edns);

	for (unsigned i = 0; i < n && (size_t)(p - out) + 12 + len + OPT_BYTES <= cap; i++) {
		if (addrs[i].family != (q->type == DNS_A ? 4 : 6))
			continue;
		p = put_rr_head(p, q->type, addrs[i].ttl_s, len);
		memcpy(p, addrs[i].addr, len);
		p += len;
		done++;
	}
	put16(out + 6, done);
	return (size_t)((q->edns ? put_opt(p, DNS_UDP_MAX, q->dnssec_ok) : p) - out);
}

size_t dns_write_ptr(uint8_t *out, const struct dns_query *q, const char *name, uint32_t ttl_s)
{
	uint8_t *p = put_head(out, q->id, answer_flags(q, DNS_NOERROR, true), q, 1, q->edns), *len;

	p = put_rr_head(p, DNS_PTR, ttl_s, 0);
	len = p - 2;
	while (*name) { /* a host name of ours: labels are short */
		size_t l = strcspn(name, ".");

		*p++ = (uint8_t)l;
		memcpy(p, name, l);
		p += l;
		name += l + (name[l] == '.');
	}
	*p++ = 0;
	put16(len, (unsigned)(p - len - 2));
	return (size_t)((q->edns ? put_opt(p, DNS_UDP_MAX, q->dnssec_ok) : p) - out);
}

void dns_restore(uint8_t *p, const struct dns_query *q)
{
	put16(p, q->id);
	memcpy(p + DNS_HEAD_BYTES, q->wire, q->wire_len);
}
