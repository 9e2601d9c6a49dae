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
}

bool addr_pool_holds(const struct addr_pool *p, uint32_t a)
{
	return a > cidr_first(p->gateway) && a < cidr_last(p->gateway) && a != p->gateway.addr;
}

uint64_t addr_pool_size(const struct addr_pool *p)
{
	if (p->n_pinned)
		return p->n_pinned;
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
	for (uint32_t i = 0; i < TRIES_MAX && i <= p->last - p->first; i++) {
		uint32_t a = p->first + i;

		if (addr_pool_holds(p, a) && !taken(arg, a)) {
			*out = a;
			return 0;
		}
	}
	return -ENOSPC;
}

void mac_of_name(const char *name, uint8_t mac[6])
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then stirred so that name-1 and name-2 differ everywhere */

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3u;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu;
	h ^= h >> 33;
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
