/*
 * lib/dns: DNS messages (RFC 1035, EDNS0 of RFC 6891, negative answers of RFC 2308) as a forwarding resolver needs them: a question read strictly, an
 * upstream's answer checked against it, answers of our own written. Every name walk is bounded (a compression pointer only points backwards), every
 * section is counted. Sends nothing, keeps nothing. Stands on lib/base alone. Not shared between threads.
 */
#ifndef LIB_DNS_DNS_H
#define LIB_DNS_DNS_H

#include "lib/base/base.h"

#define DNS_HEAD_BYTES 12u
#define DNS_PLAIN_MAX 512u    /* UDP without EDNS0 */
#define DNS_UDP_MAX 1232u     /* what we say we take, and the most we send by UDP */
#define DNS_MESSAGE_MAX 65535u
#define DNS_NAME_WIRE_MAX 255u
#define DNS_NAME_TEXT_MAX 1020u /* every byte may be \ddd */
#define DNS_ADDRS_MAX 32u     /* of one answer that count */
#define DNS_CHAIN_MAX 16u     /* CNAMEs that are followed */

enum { DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41, DNS_ANY = 255 };
enum { DNS_CLASS_IN = 1 };
enum dns_rcode { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_NOTIMP = 4, DNS_REFUSED = 5 };
#define DNS_QR 0x8000u
#define DNS_AA 0x0400u
#define DNS_TC 0x0200u
#define DNS_RD 0x0100u
#define DNS_RA 0x0080u
#define DNS_AD 0x0020u
#define DNS_CD 0x0010u

struct dns_query {
	uint16_t id, flags, type, class;
	uint8_t wire[DNS_NAME_WIRE_MAX + 4]; /* the question as it came: name, type, class */
	size_t wire_len;
	char name[DNS_NAME_TEXT_MAX + 1];    /* lower case, no last dot ("." is the root), bytes that no host name has as \ddd */
	bool edns, dnssec_ok;
	size_t udp_max;                      /* what the asker takes by UDP: DNS_PLAIN_MAX … DNS_UDP_MAX */
};
/* 0; -EBADMSG: nothing that can be answered (too short, an answer itself); -EINVAL: FORMERR (id and flags are set); -EOPNOTSUPP: NOTIMP (opcode). */
int dns_read_query(const void *p, size_t n, struct dns_query *q);

struct dns_addr {
	uint8_t family;
	uint8_t addr[16];
	uint32_t ttl_s;
};
struct dns_answer {
	uint16_t flags;
	unsigned rcode;
	bool truncated;
	uint32_t ttl_s;  /* the least of what is in it; of a negative answer by its SOA; 0 when there is nothing to go by */
	unsigned n_addrs; /* of the asked name through its CNAMEs, for A and AAAA */
	struct dns_addr addrs[DNS_ADDRS_MAX];
};
/* An answer to q (asked with `id`). 0; -EBADMSG: not an answer to it (another id, another question): ignore it; -EPROTO: broken. */
int dns_read_answer(const void *p, size_t n, const struct dns_query *q, uint16_t id, struct dns_answer *a);
/* Makes every TTL older by age_s and at most max_s; EDNS0's record stays. p must have passed dns_read_answer. */
void dns_age(void *p, size_t n, uint32_t age_s, uint32_t max_s);
/* The message without EDNS0's record when that is the last one: for one who asked without. Its new length. */
size_t dns_strip_edns(void *p, size_t n);

/* ---- writing; out has DNS_MESSAGE_MAX bytes (or cap); the length is returned ---- */
/* q as a question to an upstream: recursion wanted, EDNS0, the asker's CD and DO. */
size_t dns_write_query(uint8_t *out, const struct dns_query *q, uint16_t id);
/* An empty answer; q with wire_len 0 (FORMERR) has no question in it. */
size_t dns_write_empty(uint8_t *out, const struct dns_query *q, enum dns_rcode rcode, bool authoritative, bool truncated);
/* Addresses for q's name as answer, as many as fit into cap. */
size_t dns_write_addrs(uint8_t *out, size_t cap, const struct dns_query *q, const struct dns_addr *addrs, unsigned n, bool authoritative);
/* A name (as text, host name) as answer to PTR. */
size_t dns_write_ptr(uint8_t *out, const struct dns_query *q, const char *name, uint32_t ttl_s);
/* id and question of the asker, over an upstream's answer. */
void dns_restore(uint8_t *p, const struct dns_query *q);

/* "4.3.2.1.in-addr.arpa", "….ip6.arpa" → family 4 or 6 and the address; 0 when it is none (or not a whole one). */
unsigned dns_reverse(const char *name, uint8_t addr[16]);

#endif
