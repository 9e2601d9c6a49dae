/*
 * lib/policy: what a VM may reach: the entries of `allow` and `drop` (contract §2.1, §6.2, and names, which are ours), and the one
 * pure function that says what a set of them decides. Used by core (configuration, API, explain; what netd gets), by gate (names), by the
 * CLI (learn) and by tests that hold it against real packets. Sends nothing, resolves nothing. Stands on lib/base alone.
 *
 * An entry:  1.2.3.4   10.0.0.0/8   1.2.3.4:443   10.0.0.0/8:443   2001:db8::1   fd00::/8   [2001:db8::1]:443   [fd00::/8]:443
 *            example.com   example.com:443   *.example.com   *.example.com:443      (names in their ASCII form: xn--…)
 * "*.example.com" holds every name below example.com, not example.com itself. A port means TCP and UDP; without one every protocol.
 * "0.0.0.0/0" means everything, IPv6 too: rules written before guests had IPv6 must not let it through. "::/0" is IPv6 alone.
 *
 * The order (policy_decide):
 *   1. allow entries with addresses narrower than /0, in list order: "allow[i]"; then addresses that an allowed name opened: its "allow[i]"
 *   2. what is denied unless named: "builtin:metadata" (link-local space and fd00:ec2::254), "builtin:lan" (private, shared, loopback, multicast,
 *      reserved space, and what the caller says is its own: other VMs, the host)
 *   3. allow entries of /0: "allow[i]"
 *   4. drop entries: "drop[i]"
 *   5. "default:deny" when there are allow entries and no drop entries, else "default:allow"
 */
#ifndef LIB_POLICY_POLICY_H
#define LIB_POLICY_POLICY_H

#include "lib/base/buf.h"

#define POLICY_ENTRIES_MAX 256u /* of one list */
#define POLICY_NAME_MAX 253u    /* bytes of a DNS name as text, without the last dot */
#define POLICY_TEXT_MAX (POLICY_NAME_MAX + 8u) /* of one entry: "*." and ":65535" with it */
#define POLICY_LIST_BYTES_MAX 12288u /* of one list, written: four of them fit into one frame */
#define POLICY_ID_MAX 24u

enum policy_kind { POLICY_NET, POLICY_NAME, POLICY_SUFFIX };
enum policy_list { POLICY_ALLOW, POLICY_DROP };

struct policy_net {
	uint8_t family;   /* 4 or 6 */
	uint8_t prefix;   /* 0–32, 0–128 */
	uint8_t addr[16]; /* network order; the first 4 for family 4; no bits beyond the prefix */
};
struct policy_entry {
	enum policy_kind kind;
	uint16_t port;         /* 0: any, and every protocol */
	struct policy_net net; /* POLICY_NET */
	char *name;            /* owned: lower case; of a suffix without the "*."; NULL for POLICY_NET */
};
struct policy {
	struct policy_entry *list[2]; /* owned; by enum policy_list */
	size_t n[2], bytes[2];
};

/* ---- making ---- */
/* One entry of text. 0; -EINVAL with f (what is wrong and how to write it); -ENOMEM. e needs policy_entry_done(). */
int policy_entry_parse(struct policy_entry *e, const char *text, struct fault *f);
void policy_entry_done(struct policy_entry *e);
/* The entry as it is written (canonical). out has POLICY_TEXT_MAX + 1 bytes. */
void policy_entry_format(const struct policy_entry *e, char *out);
/* Appends an entry (p may be zeroed). As above; -ENOSPC beyond POLICY_ENTRIES_MAX or POLICY_LIST_BYTES_MAX. A name with a port cannot be dropped (-EINVAL): its
 * addresses are not known beforehand. */
int policy_add(struct policy *p, enum policy_list list, const char *text, struct fault *f);
void policy_clear(struct policy *p, enum policy_list list);
int policy_copy_list(struct policy *to, const struct policy *from, enum policy_list list); /* replaces that list. 0, -ENOMEM */
void policy_done(struct policy *p); /* safe on a zeroed struct */

/* ---- addresses ---- */
/* "1.2.3.4" or "2001:db8::1", nothing else; prefix becomes 32 or 128. 0 or -EINVAL. */
int policy_addr_parse(const char *text, struct policy_net *out);
#define POLICY_ADDR_TEXT_MAX 46u
void policy_addr_format(uint8_t family, const uint8_t *addr, char out[POLICY_ADDR_TEXT_MAX]);
bool policy_net_holds(const struct policy_net *n, uint8_t family, const uint8_t *addr);
/* Host name as DNS has it: 1–253 bytes, labels of 1–63 letters, digits, '-', '_', no last dot; written to out (POLICY_NAME_MAX + 1) in lower
 * case, a last dot taken away. 0 or -EINVAL. */
int policy_name_canon(const char *text, char *out);

/* ---- deciding ---- */
/* An address that an answer to an allowed name opened. */
struct policy_opened {
	uint8_t family;
	uint8_t addr[16];
	uint16_t port;   /* 0: any */
	uint16_t rule;   /* index in allow */
};
struct policy_ask {
	uint8_t family;  /* 4 or 6 */
	uint8_t addr[16];
	uint8_t proto;   /* 6, 17, 1, 58, …; 0: not said, taken as one with ports when port is not 0 */
	uint16_t port;   /* of the destination; 0: none */
	const struct policy_opened *opened; /* borrowed */
	size_t n_opened;
	const struct policy_net *own;       /* borrowed: counts as builtin:lan */
	size_t n_own;
};
enum policy_rule { RULE_ALLOW, RULE_DROP, RULE_METADATA, RULE_LAN, RULE_DEFAULT_ALLOW, RULE_DEFAULT_DENY };
struct policy_verdict {
	bool allow;
	enum policy_rule rule;
	unsigned index;  /* of RULE_ALLOW, RULE_DROP */
};
struct policy_verdict policy_decide(const struct policy *p, const struct policy_ask *a);
/* A name asked of the resolver (canonical): an allow entry with that name, else a drop entry with it, else what holds for an address nobody
 * names: allow of /0, drop of /0, default. port 0: any port will do. In RULE_ALLOW with a name entry the answer opens addresses. */
struct policy_verdict policy_decide_name(const struct policy *p, const char *name, uint16_t port);
/* Does allow[i] name it (so that its answers open addresses for allow[i])? */
bool policy_rule_names(const struct policy *p, unsigned i, const char *name);
/* May an answer open this address? Never what is denied unless an address entry names it. */
bool policy_may_open(const struct policy_net *own, size_t n_own, uint8_t family, const uint8_t *addr);
bool policy_default_allows(const struct policy *p);
/* "allow[3]", "builtin:lan", … */
void policy_rule_id(enum policy_rule rule, unsigned index, char out[POLICY_ID_MAX]);

/* ---- for netd: RULE of N_POLICY (lib/wire/netd.h) ---- */
#define POLICY_RULE_BYTES 28u
#define POLICY_RULES_MAX (4 * POLICY_ENTRIES_MAX) /* "0.0.0.0/0" becomes two */
/* Every entry with addresses, allow first, in list order: u8 verdict (0 deny 1 allow), u8 family, u8 prefix, u8 proto (0: any; with a port: TCP and
 * UDP), u16 port, u16 index in its list, 16 bytes address, u32 flags (bit 0: allow, narrower than /0). out has
 * POLICY_RULES_MAX places; the number is returned. */
size_t policy_pack(const struct policy *p, uint8_t (*out)[POLICY_RULE_BYTES]);

#endif
