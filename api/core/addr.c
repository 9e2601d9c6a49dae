#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/core/addr.h"

#define TRIES_MAX 65536u

static int octet(const char **s, uint32_t *out)
{
	const char *p = *s;
	uint32_t v = 0;
	unsigned n = 0;

	while (n < 3 && p[n] >= '0' && p[n] <= '9')
		v = v * 10 + (uint32_t)(p[n++] - '0');
	if (!n || v > 255 || (n > 1 && p[0] == '0'))
		return -EINVAL;
	*s = p + n;
	*out = v;
	return 0;
}

static int dotted(const char **s, uint32_t *out)
{
	uint32_t a = 0, v;

	for (int i = 0; i < 4; i++) {
		if (i && *(*s)++ != '.')
			return -EINVAL;
		if (octet(s, &v))
			return -EINVAL;
		a = a << 8 | v;
	}
	*out = a;
	return 0;
}

int addr_parse(const char *s, uint32_t *out)
{
	return dotted(&s, out) || *s ? -EINVAL : 0;
}

int cidr_parse(const char *s, unsigned default_bits, struct cidr *out)
{
	uint32_t bits = default_bits;

	if (dotted(&s, &out->addr))
		return -EINVAL;
	if (*s == '/') {
		s++;
		if (octet(&s, &bits))
			return -EINVAL;
	}
	if (*s || bits > 32)
		return -EINVAL;
	out->bits = bits;
	return 0;
}

void addr_format(uint32_t a, char out[ADDR_TEXT_MAX])
{
	snprintf(out, ADDR_TEXT_MAX, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

void cidr_format(struct cidr c, char out[ADDR_TEXT_MAX])
{
	size_t n;

	addr_format(c.addr, out);
	n = strlen(out);
	snprintf(out + n, ADDR_TEXT_MAX - n, "/%u", c.bits & 63);
}

uint32_t cidr_mask(unsigned bits)
{
	return bits ? ~0u << (32 - bits) : 0;
}

bool cidr_overlaps(struct cidr a, struct cidr b)
{
	return cidr_first(a) <= cidr_last(b) && cidr_first(b) <= cidr_last(a);
}

void addr_pool_init(struct addr_pool *p, struct cidr gateway)
{
	p->gateway = gateway;
	p->first = cidr_first(gateway) + 2;
	p->last = cidr_last(gateway) - 1;
	p->n_pinned = 0;
	p->pairs = false;
}

void addr_pool_init_pairs(struct addr_pool *p, struct cidr range)
{
	p->gateway = (struct cidr){ cidr_first(range), range.bits };
	p->first = cidr_first(range) + 2;
	p->last = cidr_last(range) - 1;
	p->n_pinned = 0;
	p->pairs = true;
}

unsigned addr_pool_bits(const struct addr_pool *p)
{
	return p->pairs ? 30 : p->gateway.bits;
}

uint32_t addr_pool_gateway(const struct addr_pool *p, uint32_t a)
{
	return p->pairs ? a - 1 : p->gateway.addr;
}

bool addr_pool_holds(const struct addr_pool *p, uint32_t a)
{
	if (p->pairs)
		return cidr_holds(p->gateway, a) && (a & 3) == 2;
	return a > cidr_first(p->gateway) && a < cidr_last(p->gateway) && a != p->gateway.addr;
}

uint64_t addr_pool_size(const struct addr_pool *p)
{
	if (p->n_pinned)
		return p->n_pinned;
	if (p->pairs)
		return 1ull << (30 - p->gateway.bits);
	if (p->last < p->first)
		return 0;
	return (uint64_t)p->last - p->first + 1 - (p->gateway.addr >= p->first && p->gateway.addr <= p->last);
}

int addr_pool_next(const struct addr_pool *p, bool (*taken)(void *, uint32_t), void *arg, uint32_t *out)
{
	for (size_t i = 0; i < p->n_pinned; i++)
		if (!taken(arg, p->pinned[i])) {
			*out = p->pinned[i];
			return 0;
		}
	if (p->n_pinned || p->last < p->first)
		return -ENOSPC;
	for (uint32_t i = 0; i < TRIES_MAX && i <= p->last - p->first; i += p->pairs ? 4 : 1) {
		uint32_t a = p->first + i;

		if (addr_pool_holds(p, a) && !taken(arg, a)) {
			*out = a;
			return 0;
		}
	}
	return -ENOSPC;
}

#define HASH_BEGIN 0xcbf29ce484222325u

/* FNV-1a … */
static uint64_t hash_add(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	return h;
}

/* … then stirred so that name-1 and name-2 differ everywhere */
static uint64_t hash_end(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu;
	return h ^ h >> 33;
}

/* /22s of 169.254.0.0/16. The first and last 256 addresses are reserved (RFC 3927 §2.1; the ends of our veths are there too), 169.254.169.254 is clouds' metadata. */
#define BLOCKS 64u
#define BLOCK_METADATA (169u / 4)

int addr_derive_range(const char *group, bool (*taken)(void *, struct cidr), void *arg, struct cidr *out)
{
	uint64_t h = hash_end(hash_add(HASH_BEGIN, group));

	for (unsigned i = 0; i < BLOCKS; i++) {
		unsigned block = (unsigned)((h + i) % BLOCKS);
		struct cidr c = { 169u << 24 | 254u << 16 | block << 10, 22 };

		if (block == 0 || block == BLOCKS - 1 || block == BLOCK_METADATA || taken(arg, c))
			continue;
		*out = c;
		return 0;
	}
	return -ENOSPC;
}

void addr6_format(const uint8_t prefix[8], uint32_t a, unsigned bits, char out[ADDR6_TEXT_MAX])
{
	int n = snprintf(out, ADDR6_TEXT_MAX, "%x:%x:%x:%x::%x:%x", prefix[0] << 8 | prefix[1], prefix[2] << 8 | prefix[3], prefix[4] << 8 | prefix[5],
			 prefix[6] << 8 | prefix[7], a >> 16, a & 0xffff);

	if (bits && n > 0)
		snprintf(out + n, ADDR6_TEXT_MAX - (size_t)n, "/%u", bits);
}

void addr6_prefix(const char *owner, const char *group, uint8_t prefix[8])
{
	uint64_t h = hash_end(hash_add(hash_add(hash_add(HASH_BEGIN, owner), "/"), group));

	prefix[0] = 0xfd;
	for (int i = 1; i < 8; i++)
		prefix[i] = (uint8_t)(h >> (8 * i));
}

void mac_of_name(const char *name, uint8_t mac[6])
{
	uint64_t h = hash_end(hash_add(HASH_BEGIN, name));

	mac[0] = 0x02;
	for (int i = 1; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
}

void mac_format(const uint8_t mac[6], char out[MAC_TEXT_MAX])
{
	snprintf(out, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

int mac_parse(const char *s, uint8_t mac[6])
{
	if (strlen(s) != MAC_TEXT_MAX - 1)
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		const char digits[3] = { s[3 * i], s[3 * i + 1], 0 };

		if ((i && s[3 * i - 1] != ':') || hex_decode(digits, mac + i, 1))
			return -EINVAL;
	}
	return 0;
}
