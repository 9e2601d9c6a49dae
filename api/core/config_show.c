/* The operator's file as it was read, or with every default that it left open written out: itself a file that means the same. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/core/config_int.h"

#define MASKED "<masked>" /* too short to be taken for a token when it is read again */

struct showing {
	struct yaml_doc *d;
	bool failed;
};

static void put_node(struct showing *s, struct yaml_node *map, const char *key, struct yaml_node *n)
{
	struct yaml_node *old = yaml_child(map, key), *next;

	if (!n) {
		s->failed = true;
	} else if (old) { /* given as null */
		next = old->next;
		*old = *n;
		old->next = next;
	} else {
		yaml_append(map, n);
	}
}

static bool given(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_child(map, key);

	return !map || (n && !yaml_is_null(n));
}

/* What was not given. */
static void put(struct showing *s, struct yaml_node *map, const char *key, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void put(struct showing *s, struct yaml_node *map, const char *key, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	if (given(map, key))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_node(s, map, key, yaml_scalar(s->d, key, text, true));
}

static struct yaml_node *map_at(struct showing *s, struct yaml_node *map, const char *key)
{
	if (!given(map, key))
		put_node(s, map, key, yaml_branch(s->d, key, YAML_MAPPING));
	return yaml_child(map, key);
}

static void put_size(struct showing *s, struct yaml_node *map, const char *key, uint64_t bytes)
{
	static const char units[] = "GMK";
	unsigned shift = 30;

	for (const char *unit = units; *unit; unit++, shift -= 10)
		if (bytes && bytes % (1ull << shift) == 0) {
			put(s, map, key, "%llu%c", (unsigned long long)(bytes >> shift), *unit);
			return;
		}
	put(s, map, key, "%llu", (unsigned long long)bytes);
}

static void put_dns(struct showing *s, struct yaml_node *map, const char *dns)
{
	struct yaml_node *list;
	char word[ADDR_TEXT_MAX];

	if (given(map, "dns_servers"))
		return;
	list = yaml_branch(s->d, "dns_servers", YAML_SEQ);
	put_node(s, map, "dns_servers", list);
	for (const char *p = dns; list && *p; p += strspn(p, ",")) {
		size_t n = strcspn(p, ",");

		snprintf(word, sizeof(word), "%.*s", (int)n, p);
		yaml_append(list, yaml_scalar(s->d, NULL, word, true));
		p += n;
	}
}

static void put_network(struct showing *s, struct yaml_node *net, const struct host_group *g)
{
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

	put(s, net, "mode", "%s", config_net_mode(g));
	if (g->net_mode == NET_NONE)
		return;
	if (g->net_mode != NET_MACVTAP)
		put(s, net, "ipv6", "%s", g->ipv6 ? "true" : "false");
	cidr_format(g->pool.gateway, a);
	if (g->net_mode == NET_ISOLATED) {
		put(s, net, "range", "%s", a);
		return;
	}
	if (g->bridge[0])
		put(s, net, "bridge", "%s", g->bridge);
	put(s, net, "tap_prefix", "%s", g->tap_prefix);
	if (group_dhcp(g))
		return;
	put(s, net, "gateway", "%s", a);
	addr_format(g->pool.first, a);
	addr_format(g->pool.last, b);
	if (!g->pool.n_pinned)
		put(s, net, "range", "%s-%s", a, b);
}

static void put_group(struct showing *s, struct yaml_node *map, const struct host_group *g)
{
	put(s, map, "count", "%u", g->count);
	put(s, map, "vcpu", "%u", g->vcpus);
	if (!given(map, "ram_gb") && !given(map, "ram_mb"))
		put(s, map, "ram_bytes", "%llu", (unsigned long long)g->ram_bytes);
	put(s, map, "storage", "%s", g->storage);
	put_size(s, map, "storage_size", g->disk_bytes);
	put(s, map, "cpu_weight", "%u", g->cpu_weight);
	put(s, map, "persistent", "%s", g->persistent ? "true" : "false");
	put_dns(s, map, g->dns);
	put(s, map, "image", "%s", g->image.path);
	if (g->kernel.fd >= 0)
		put(s, map, "kernel_file", "%s", g->kernel.path);
	else
		put(s, map, "kernel", g->kernel_full ? "full" : "min");
	if (g->initrd.path)
		put(s, map, "initrd_file", "%s", g->initrd.path);
	put_network(s, map_at(s, map, "network"), g);
}

static void put_api(struct showing *s, struct yaml_node *api, const struct config *c)
{
	put(s, api, "bind_address", "%s", c->bind_host ? c->bind_host : c->socket);
	if (c->bind_host)
		put(s, api, "port", "%u", c->port);
	put(s, map_at(s, api, "auth"), "enabled", "%s", (c->bind_host ? c->tcp_auth : c->socket_auth) ? "true" : "false");
	if (c->bind_host)
		put(s, map_at(s, api, "tls"), "enabled", "%s", c->tls ? "true" : "false");
}

int config_show(struct config *c, bool effective, struct buf *out)
{
	struct yaml_node *root = yaml_child(c->doc.root, "config"), *token = yaml_child(yaml_child(yaml_child(root, "api"), "auth"), "token");
	struct yaml_node *groups = yaml_child(root, "host_groups");
	struct showing s = { &c->doc, false };
	size_t i = 0;

	if (token && !yaml_is_null(token)) {
		token->text = MASKED;
		token->plain = false;
	}
	if (effective) {
		put(&s, root, "graceful_shutdown", "%s", c->graceful_shutdown ? "true" : "false");
		put(&s, root, "image", "min");
		for (struct yaml_node *g = groups->first; g && i < c->n_groups; g = g->next)
			put_group(&s, g, &c->groups[i++]);
		put_api(&s, map_at(&s, root, "api"), c);
	}
	yaml_write(out, c->doc.root);
	return s.failed || out->failed ? -ENOMEM : 0;
}
