/* What a group publishes: ports of the one VM that its count keeps. */
#include <errno.h>
#include <string.h>

#include "api/core/config_int.h"
#include "api/core/publish_spec.h"

int config_check_publish(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	struct buf lines;
	int r = 0;

	if (!k->publish.n)
		return 0;
	if (g->count != 1)
		return REFUSE(x, k->publish.line, "group '%s': publish is for the VM that 'count: 1' keeps, count is %u: %s", g->name, g->count,
			      g->count ? "two VMs cannot have one port, so make a group of each" : "say what to publish when launching ('mica vm launch --publish')");
	buf_init(&lines, PUBLISH_LINES_MAX);
	for (size_t i = 0; i < k->publish.n && !r; i++) {
		struct fault f = { "" };

		r = publish_add(&lines, k->publish.v[i].v, &f);
		if (r == -EINVAL)
			r = REFUSE(x, k->publish.v[i].line, "group '%s': %s", g->name, f.text);
	}
	if (!r) {
		g->publish = yaml_doc_strdup(&x->c->doc, buf_cstr(&lines));
		r = g->publish ? 0 : -ENOMEM;
	}
	buf_done(&lines);
	return r;
}

static unsigned line_of(const struct host_group *g)
{
	return g->keys ? g->keys->publish.line : 0;
}

/* One port of group i: has a group before it the same, or the API? */
static int check_port(struct checking *x, size_t i, const struct publish_spec *s)
{
	const struct host_group *g = &x->c->groups[i];
	struct publish_spec api = { .family = AF_INET, .port = x->c->port }, other;
	uint32_t addr = htonl(x->c->bind_addr);

	memcpy(api.addr, &addr, sizeof(addr));
	if (x->c->bind_host && publish_clash(&api, s))
		return REFUSE(x, line_of(g), "group '%s': publish '%s': the API listens on port %u: choose another one, or set api.port", g->name, s->text, s->port);
	for (size_t j = 0; j < i; j++) {
		const char *at = x->c->groups[j].publish ? x->c->groups[j].publish : "";

		while (publish_next(&at, &other) > 0) /* at most PUBLISH_MAX */
			if (publish_clash(s, &other))
				return REFUSE(x, line_of(g), "group '%s': publish '%s': group '%s' has that port ('%s')", g->name, s->text, x->c->groups[j].name,
					      other.text);
	}
	return 0;
}

int config_check_ports(struct checking *x)
{
	struct publish_spec s;
	int r = 0;

	for (size_t i = 0; i < x->c->n_groups && !r; i++) {
		const char *at = x->c->groups[i].publish ? x->c->groups[i].publish : "";

		while (!r && publish_next(&at, &s) > 0) /* at most PUBLISH_MAX */
			r = check_port(x, i, &s);
	}
	return r;
}
