/* IPv4 networks and addresses, host byte order; which address a VM gets; its MAC. No allocation, no system calls. */
#ifndef API_CORE_ADDR_H
#define API_CORE_ADDR_H

#include "lib/base/base.h"

#define ADDR_TEXT_MAX 20 /* "255.255.255.255/32" and NUL */
#define ADDR_PINNED_MAX 256u

struct cidr {
	uint32_t addr; /* as written: need not be the network's first */
	unsigned bits; /* 0–32 */
};

/* "a.b.c.d", decimal, no leading zeros. 0 or -EINVAL. */
int addr_parse(const char *s, uint32_t *out);
/* "a.b.c.d/len"; without "/len": default_bits, or -EINVAL when that is > 32. */
int cidr_parse(const char *s, unsigned default_bits, struct cidr *out);
void addr_format(uint32_t a, char out[ADDR_TEXT_MAX]);
void cidr_format(struct cidr c, char out[ADDR_TEXT_MAX]);
uint32_t cidr_mask(unsigned bits);
static inline uint32_t cidr_first(struct cidr c) { return c.addr & cidr_mask(c.bits); }
static inline uint32_t cidr_last(struct cidr c) { return c.addr | ~cidr_mask(c.bits); }
bool cidr_overlaps(struct cidr a, struct cidr b);
static inline bool cidr_holds(struct cidr c, uint32_t a) { return a >= cidr_first(c) && a <= cidr_last(c); }

/* Where a group's VMs get addresses from. */
struct addr_pool {
	struct cidr gateway;               /* the host's side; its address is never given away */
	uint32_t first, last;              /* inclusive */
	uint32_t pinned[ADDR_PINNED_MAX];  /* when n_pinned: these and no others, in this order */
	size_t n_pinned;
	bool pairs;                        /* isolated: a /30 for each VM, .1 its gateway, .2 its own; `gateway` is the whole range then */
};
/* The whole subnet of the gateway without its first two (network, usual gateway) and last address. */
void addr_pool_init(struct addr_pool *p, struct cidr gateway);
/* Every /30 of the range. */
void addr_pool_init_pairs(struct addr_pool *p, struct cidr range);
unsigned addr_pool_bits(const struct addr_pool *p);                  /* length of a VM's own network */
uint32_t addr_pool_gateway(const struct addr_pool *p, uint32_t a);   /* of the VM that has `a` */
/* May a VM of this pool have `a`? (not the network, the gateway or the broadcast address) */
bool addr_pool_holds(const struct addr_pool *p, uint32_t a);
/* Number of addresses it can give. */
uint64_t addr_pool_size(const struct addr_pool *p);
/* Next address that `taken` does not claim. 0 or -ENOSPC. Asks at most 65536 times. */
int addr_pool_next(const struct addr_pool *p, bool (*taken)(void *arg, uint32_t a), void *arg, uint32_t *out);

/* Where in 169.254.0.0/16 a group's /22 lies: a stable function of its name, then the next one that `taken` does not claim. 0 or -ENOSPC. */
int addr_derive_range(const char *group, bool (*taken)(void *arg, struct cidr c), void *arg, struct cidr *out);
/* IPv6 within a /64: the IPv4 address is its last four bytes. */
#define ADDR6_TEXT_MAX 50 /* with "/128" */
void addr6_format(const uint8_t prefix[8], uint32_t a, unsigned bits, char out[ADDR6_TEXT_MAX]); /* bits 0: without a length */
/* A private /64 (RFC 4193), a stable function of who and which group. */
void addr6_prefix(const char *owner, const char *group, uint8_t prefix[8]);

/* Locally administered unicast MAC, a stable function of the hostname. */
void mac_of_name(const char *name, uint8_t mac[6]);
#define MAC_TEXT_MAX 18
void mac_format(const uint8_t mac[6], char out[MAC_TEXT_MAX]);
int mac_parse(const char *s, uint8_t mac[6]); /* "02:00:…" lower or upper case; 0 or -EINVAL */

#endif
