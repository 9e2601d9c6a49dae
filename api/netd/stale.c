/*
 * What a `mica run` left that was killed with all its processes. Its owner's name begins with NETD_PASSING, and no daemon will come back for it, as one does
 * for a state folder. While its netd lives, that holds a socket of a name that only one can have (unix(7): abstract, of this network namespace); the
 * next netd of anybody takes away what belongs to a name that nobody holds.
 */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/netd/netd.h"

enum { OWNERS_MAX = 64, LINKS_MAX = 64 };

/* The socket, or -errno: -EADDRINUSE: somebody holds that name. */
static int hold(const char *owner)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "mica-net-%s", owner);
	AUTO_FD fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)))
		return -errno;
	int out = fd;
	fd = -1;
	return out;
}

void stale_hold(struct netd *n)
{
	fd_close(&n->held_fd);
	n->held_fd = hold(n->owner);
}

/* ---- owners that have tables ---- */

struct owners {
	const char *own;
	unsigned n;
	char v[OWNERS_MAX][NETD_OWNER_MAX + 1];
};

static void take_table(void *arg, const struct nft_bytes *m)
{
	struct owners *o = arg;
	struct nft_bytes name;
	char owner[NETD_OWNER_MAX + 1] = "";
	static const char prefix[] = NETD_ALIAS "-" NETD_PASSING;
	if (o->n == OWNERS_MAX || !nft_attr(m->p, m->n, NFTA_TABLE_NAME, &name) || !name.n || name.p[name.n - 1] || strncmp((const char *)name.p, prefix, strlen(prefix)) != 0)
		return;
	snprintf(owner, sizeof owner, "%s", (const char *)name.p + strlen(NETD_ALIAS "-"));
	owner[strcspn(owner, ".")] = '\0';
	if (!name_is_valid(owner, NETD_OWNER_MAX) || strcmp(owner, o->own) == 0)
		return;
	for (unsigned i = 0; i < o->n; i++)
		if (strcmp(o->v[i], owner) == 0)
			return;
	snprintf(o->v[o->n++], sizeof o->v[0], "%s", owner);
}

/* ---- one that is dead ---- */

struct links {
	unsigned n;
	int index[LINKS_MAX];
};

static void take_link(void *arg, const char *name, const struct link_info *l)
{
	struct links *found = arg;
	(void)name;
	if (l->mine && found->n < LINKS_MAX)
		found->index[found->n++] = l->index;
}

static void remove_all(struct netd *n, const char *owner)
{
	struct netd dead = {.rtnl = n->rtnl, .nft = n->nft};
	struct links found = {.n = 0};
	snprintf(dead.table, sizeof dead.table, NETD_ALIAS "-%s", owner);
	snprintf(dead.rtnl.alias, sizeof dead.rtnl.alias, NETD_ALIAS " %s", owner);
	if (rtnl_each_ours(&dead.rtnl, take_link, &found) == 0)
		for (unsigned i = 0; i < found.n; i++)
			rtnl_link_del(&dead.rtnl, found.index[i]);
	nft_bridge_sweep(&dead, NULL, NULL);
	nft_host_none(&dead);
	n->rtnl.seq = dead.rtnl.seq;
	n->nft.seq = dead.nft.seq;
}

void stale_sweep(struct netd *n)
{
	struct owners o = {.own = n->owner};
	struct nft_batch b = {.nft = &n->nft};
	if (n->nft.fd < 0)
		return;
	buf_init(&b.out, 256);
	nft_message(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_INET, 0);
	if (nft_dump(&b, take_table, &o))
		return;
	for (unsigned i = 0; i < o.n; i++) {
		AUTO_FD fd = hold(o.v[i]); /* held while it is swept: nobody of that name begins meanwhile */
		if (fd >= 0)
			remove_all(n, o.v[i]);
	}
}
