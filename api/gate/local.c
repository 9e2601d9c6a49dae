/* Names that we know ourselves: the VMs of the same group and the gateway, both ways; and what must not be asked upstream. */
#include <stdio.h>
#include <string.h>

#include "api/gate/gate.h"

/* The name without ".internal" when it is one of ours to answer: a single label, or below our zone. NULL: not ours. */
static const char *local_part(const char *name, char out[GATE_NAME_MAX + 1])
{
	size_t n = strlen(name), zone = strlen(LOCAL_ZONE);

	if (n > zone + 1 && name[n - zone - 1] == '.' && strcmp(name + n - zone, LOCAL_ZONE) == 0)
		n -= zone + 1;
	if (n > GATE_NAME_MAX || memchr(name, '.', n))
		return NULL;
	memcpy(out, name, n);
	out[n] = '\0';
	return out;
}

/* Zones that belong to one network, or to none (RFC 6761, 6762, 7686, 8375): what is asked of them says something about the guest, and no upstream knows. */
static bool must_stay(const char *name)
{
	static const char *const zones[] = { LOCAL_ZONE, "local", "localhost", "localdomain", "lan", "home.arpa", "onion", "invalid", "test" };
	size_t n = strlen(name);

	if (!strchr(name, '.') && strcmp(name, ".") != 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
		size_t z = strlen(zones[i]);

		if (n > z && name[n - z - 1] == '.' && strcmp(name + n - z, zones[i]) == 0)
			return true;
	}
	return false;
}

static void answer_addrs(struct vm *vm, struct asker *a, const struct dns_query *q, const struct policy_net nets[2])
{
	struct dns_addr addrs[2];
	uint8_t out[DNS_PLAIN_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < 2; i++)
		if (nets[i].family) {
			addrs[n] = (struct dns_addr){ .family = nets[i].family, .ttl_s = LOCAL_TTL_S };
			memcpy(addrs[n++].addr, nets[i].addr, 16);
		}
	if (q->type != DNS_A && q->type != DNS_AAAA)
		n = 0; /* the name is there, but has nothing of that type */
	serve_answer(vm, a, q, out, dns_write_addrs(out, sizeof(out), q, addrs, n, true));
}

static bool by_name(struct vm *vm, struct asker *a, const struct dns_query *q)
{
	char part[GATE_NAME_MAX + 1];

	if (!local_part(q->name, part))
		return false;
	if (strcmp(part, "gateway") == 0 || strcmp(part, "_gateway") == 0) {
		answer_addrs(vm, a, q, vm->gw);
		return true;
	}
	for (const struct vm *other = vm->gate->vms; other; other = other->next)
		if (strcmp(other->name, part) == 0 && strcmp(other->group, vm->group) == 0) {
			answer_addrs(vm, a, q, other->ip);
			return true;
		}
	return false;
}

static bool is_addr(const struct policy_net nets[2], unsigned family, const uint8_t *addr)
{
	for (unsigned i = 0; i < 2; i++)
		if (nets[i].family == family && !memcmp(nets[i].addr, addr, family == 6 ? 16 : 4))
			return true;
	return false;
}

static bool by_addr(struct vm *vm, struct asker *a, const struct dns_query *q)
{
	uint8_t addr[16], out[DNS_PLAIN_MAX + DNS_NAME_WIRE_MAX];
	unsigned family = q->type == DNS_PTR ? dns_reverse(q->name, addr) : 0;
	char name[GATE_NAME_MAX + sizeof("." LOCAL_ZONE)] = "";

	if (!family)
		return false;
	if (is_addr(vm->gw, family, addr))
		snprintf(name, sizeof(name), "gateway." LOCAL_ZONE);
	for (const struct vm *other = vm->gate->vms; other && !name[0]; other = other->next)
		if (strcmp(other->group, vm->group) == 0 && is_addr(other->ip, family, addr))
			snprintf(name, sizeof(name), "%s." LOCAL_ZONE, other->name);
	if (!name[0] && !vm->ruled)
		return false;
	if (name[0])
		serve_answer(vm, a, q, out, dns_write_ptr(out, q, name, LOCAL_TTL_S));
	else if (!policy_may_open(NULL, 0, (uint8_t)family, addr)) /* private addresses are nobody else's business */
		answer_empty(vm, a, q, DNS_NXDOMAIN);
	else
		return false;
	return true;
}

bool local_answer(struct vm *vm, struct asker *a, const struct dns_query *q, bool named)
{
	if (by_name(vm, a, q) || by_addr(vm, a, q))
		return true;
	if (named || !vm->ruled || !must_stay(q->name)) /* on a bridge without rules DNS is as without us, but for our own names */
		return false;
	answer_empty(vm, a, q, DNS_NXDOMAIN);
	return true;
}
