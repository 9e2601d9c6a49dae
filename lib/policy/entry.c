/* An entry's text, both ways, and the lists. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/policy.h"

int policy_addr_parse(const char *text, struct policy_net *out)
{
	struct policy_net n = { .family = 4, .prefix = 32 };

	if (inet_pton(AF_INET, text, n.addr) != 1) {
		if (inet_pton(AF_INET6, text, n.addr) != 1)
			return -EINVAL;
		n.family = 6;
		n.prefix = 128;
	}
	*out = n;
	return 0;
}

void policy_addr_format(uint8_t family, const uint8_t *addr, char out[POLICY_ADDR_TEXT_MAX])
{
	inet_ntop(family == 6 ? AF_INET6 : AF_INET, addr, out, POLICY_ADDR_TEXT_MAX);
}

/* Clears what is beyond the prefix; false when something was there. */
static bool mask(struct policy_net *n)
{
	bool clean = true;

	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = n->prefix >= 8 * (i + 1) ? 8 : n->prefix > 8 * i ? n->prefix - 8 * i : 0;
		uint8_t m = (uint8_t)(0xff00u >> keep);

		if (n->addr[i] & (uint8_t)~m)
			clean = false;
		n->addr[i] &= m;
	}
	return clean;
}

bool policy_net_holds(const struct policy_net *n, uint8_t family, const uint8_t *addr)
{
	unsigned whole = n->prefix / 8, rest = n->prefix % 8;

	if (n->family != family || memcmp(n->addr, addr, whole) != 0)
		return false;
	return !rest || !((n->addr[whole] ^ addr[whole]) >> (8 - rest));
}

int policy_name_canon(const char *text, char *out)
{
	size_t n = strlen(text), label = 0;

	if (n && text[n - 1] == '.')
		n--;
	if (!n || n > POLICY_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c + 'a' - 'A');
		if (c == '.' ? !label : !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return -EINVAL;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return -EINVAL;
		out[i] = c;
	}
	out[n] = '\0';
	return label ? 0 : -EINVAL;
}

/* ---- one entry ---- */

static int parse_port(const char *digits, const char *entry, uint16_t *out, struct fault *f)
{
	uint64_t v;

	if (parse_u64(digits, 65535, &v) || !v)
		return fault_set(f, -EINVAL, "'%.60s': the port '%.20s' must be a number from 1 to 65535", entry, digits);
	*out = (uint16_t)v;
	return 0;
}

/* An address with or without "/length". -ENOENT: it does not look like one at all. */
static int parse_net(struct policy_entry *e, char *text, const char *entry, struct fault *f)
{
	char *slash = strchr(text, '/');
	struct policy_net n;
	uint64_t bits;

	if (slash)
		*slash++ = '\0';
	if (policy_addr_parse(text, &n))
		return slash ? fault_set(f, -EINVAL, "'%.60s': '%.46s' is no address; write a network as 10.0.0.0/8 or fd00::/8", entry, text) : -ENOENT;
	if (slash) {
		if (parse_u64(slash, n.prefix, &bits))
			return fault_set(f, -EINVAL, "'%.60s': the length '%.20s' must be a number from 0 to %u", entry, slash, n.prefix);
		n.prefix = (uint8_t)bits;
		if (!mask(&n)) {
			char right[POLICY_ADDR_TEXT_MAX];

			policy_addr_format(n.family, n.addr, right);
			return fault_set(f, -EINVAL, "'%.60s' has bits beyond its length: write %s/%u", entry, right, n.prefix);
		}
	}
	e->kind = POLICY_NET;
	e->net = n;
	return 0;
}

static bool looks_numeric(const char *s)
{
	return strspn(s, "0123456789.") == strlen(s);
}

static int parse_name(struct policy_entry *e, const char *text, const char *entry, struct fault *f)
{
	bool suffix = strncmp(text, "*.", 2) == 0;
	const char *name = suffix ? text + 2 : text;
	char canon[POLICY_NAME_MAX + 1];

	if (strcmp(text, "*") == 0)
		return fault_set(f, -EINVAL, "'%s': write 0.0.0.0/0 for everything, *.example.com for all names below one", entry);
	if (strstr(text, "://"))
		return fault_set(f, -EINVAL, "'%.60s' is a URL: write the host alone, as example.com or example.com:443", entry);
	if (strchr(name, '*'))
		return fault_set(f, -EINVAL, "'%.60s': '*' can only stand first, as in *.example.com", entry);
	for (const char *s = name; *s; s++)
		if ((unsigned char)*s >= 0x80)
			return fault_set(f, -EINVAL, "'%.60s': write the name in its ASCII form (xn--…), as DNS carries it", entry);
	if (looks_numeric(name) || policy_name_canon(name, canon))
		return fault_set(f, -EINVAL, "'%.60s' is no address, network (10.0.0.0/8), address:port, [IPv6]:port, host name or *.suffix", entry);
	e->kind = suffix ? POLICY_SUFFIX : POLICY_NAME;
	e->name = strdup(canon);
	return e->name ? 0 : -ENOMEM;
}

/* "[…]:port" or "[…]": the brackets hold IPv6. */
static int parse_brackets(struct policy_entry *e, char *text, const char *entry, struct fault *f)
{
	char *end = strchr(text, ']');
	int r;

	if (!end || (end[1] && end[1] != ':'))
		return fault_set(f, -EINVAL, "'%.60s': write IPv6 with a port as [2001:db8::1]:443", entry);
	*end = '\0';
	r = parse_net(e, text + 1, entry, f);
	if (r == -ENOENT || (!r && e->net.family != 6))
		return fault_set(f, -EINVAL, "'%.60s': brackets hold an IPv6 address", entry);
	return r || !end[1] ? r : parse_port(end + 2, entry, &e->port, f);
}

int policy_entry_parse(struct policy_entry *e, const char *entry, struct fault *f)
{
	char text[POLICY_TEXT_MAX + 1], *colon;
	size_t n = strlen(entry);
	int r;

	*e = (struct policy_entry){ 0 };
	if (!n)
		return fault_set(f, -EINVAL, "an empty entry: remove it");
	if (n > POLICY_TEXT_MAX)
		return fault_set(f, -EINVAL, "'%.60s…' is longer than a name can be", entry);
	memcpy(text, entry, n + 1);
	if (text[0] == '[')
		return parse_brackets(e, text, entry, f);
	colon = strchr(text, ':');
	if (colon && strchr(colon + 1, ':')) { /* two colons: IPv6, a URL with a port, or nonsense */
		r = strstr(text, "://") ? -ENOENT : parse_net(e, text, entry, f);
		return r == -ENOENT && !strstr(text, "://") ? fault_set(f, -EINVAL, "'%.60s' is no IPv6 address; with a port write [address]:port", entry)
		       : r == -ENOENT ? parse_name(e, text, entry, f) : r;
	}
	if (strstr(text, "://"))
		return parse_name(e, text, entry, f);
	if (colon) {
		*colon = '\0';
		r = parse_port(colon + 1, entry, &e->port, f);
		if (r)
			return r;
	}
	r = parse_net(e, text, entry, f);
	return r == -ENOENT ? parse_name(e, text, entry, f) : r;
}

void policy_entry_done(struct policy_entry *e)
{
	free(e->name);
	*e = (struct policy_entry){ 0 };
}

void policy_entry_format(const struct policy_entry *e, char *out)
{
	size_t cap = POLICY_TEXT_MAX + 1, n;
	char addr[POLICY_ADDR_TEXT_MAX];
	bool host, bracket;

	if (e->kind != POLICY_NET) {
		n = (size_t)snprintf(out, cap, "%s%s", e->kind == POLICY_SUFFIX ? "*." : "", e->name);
	} else {
		policy_addr_format(e->net.family, e->net.addr, addr);
		host = e->net.prefix == (e->net.family == 6 ? 128 : 32);
		bracket = e->net.family == 6 && e->port;
		n = (size_t)snprintf(out, cap, "%s%s", bracket ? "[" : "", addr);
		if (!host)
			n += (size_t)snprintf(out + n, cap - n, "/%u", e->net.prefix);
		if (bracket)
			n += (size_t)snprintf(out + n, cap - n, "]");
	}
	if (e->port && n < cap)
		snprintf(out + n, cap - n, ":%u", e->port);
}

/* ---- lists ---- */

static size_t written(const struct policy_entry *e)
{
	char text[POLICY_TEXT_MAX + 1];

	policy_entry_format(e, text);
	return strlen(text) + 1;
}

static int append(struct policy *p, enum policy_list list, const struct policy_entry *e)
{
	struct policy_entry *more = realloc(p->list[list], (p->n[list] + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	more[p->n[list]++] = *e;
	p->list[list] = more;
	p->bytes[list] += written(e);
	return 0;
}

int policy_add(struct policy *p, enum policy_list list, const char *text, struct fault *f)
{
	struct policy_entry e;
	int r;

	if (p->n[list] >= POLICY_ENTRIES_MAX)
		return fault_set(f, -ENOSPC, "more than %u entries in %s: write networks instead of single addresses", POLICY_ENTRIES_MAX,
				 list == POLICY_ALLOW ? "allow" : "drop");
	r = policy_entry_parse(&e, text, f);
	if (!r && list == POLICY_DROP && e.kind != POLICY_NET && e.port)
		r = fault_set(f, -EINVAL, "'%.60s': a name is dropped as a whole, since its addresses are not known beforehand: write it without the port", text);
	if (!r && p->bytes[list] + written(&e) > POLICY_LIST_BYTES_MAX)
		r = fault_set(f, -ENOSPC, "%s is longer than %u bytes: write networks and *.suffixes instead of single ones", list == POLICY_ALLOW ? "allow" : "drop",
			      POLICY_LIST_BYTES_MAX);
	if (!r)
		r = append(p, list, &e);
	if (r)
		policy_entry_done(&e);
	return r;
}

void policy_clear(struct policy *p, enum policy_list list)
{
	for (size_t i = 0; i < p->n[list]; i++)
		policy_entry_done(&p->list[list][i]);
	free(p->list[list]);
	p->list[list] = NULL;
	p->n[list] = p->bytes[list] = 0;
}

int policy_copy_list(struct policy *to, const struct policy *from, enum policy_list list)
{
	policy_clear(to, list);
	for (size_t i = 0; i < from->n[list]; i++) {
		struct policy_entry e = from->list[list][i];

		if (e.name && !(e.name = strdup(e.name)))
			return -ENOMEM;
		if (append(to, list, &e)) {
			policy_entry_done(&e);
			return -ENOMEM;
		}
	}
	return 0;
}

void policy_done(struct policy *p)
{
	policy_clear(p, POLICY_ALLOW);
	policy_clear(p, POLICY_DROP);
}
