/* Counters of the rules, as the kernel tells them. */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>

#include "api/netd/netd.h"

enum { COUNTERS_MAX = 640, ID_MAX = 32 };

struct counters {
	unsigned n;
	struct { char id[ID_MAX]; uint64_t packets; } v[COUNTERS_MAX];
};

static void take_counter(void *arg, const struct nft_bytes *m)
{
	struct counters *c = arg;
	struct nft_bytes name, data, packets;
	uint64_t v;
	if (c->n == COUNTERS_MAX || !nft_attr(m->p, m->n, NFTA_OBJ_NAME, &name) || !nft_attr(m->p, m->n, NFTA_OBJ_DATA, &data) ||
	    !nft_attr(data.p, data.n, NFTA_COUNTER_PACKETS, &packets) || packets.n != sizeof v || name.n > ID_MAX || !memchr(name.p, 0, name.n))
		return;
	memcpy(&v, packets.p, sizeof v);
	memcpy(c->v[c->n].id, name.p, name.n);
	c->v[c->n++].packets = __builtin_bswap64(v);
}

static int dump(struct iso *i, struct counters *c)
{
	struct nft_batch b = {.nft = &i->nft};
	buf_init(&b.out, 4096);
	nft_message(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ, NLM_F_DUMP, NFPROTO_INET, 0);
	nft_put_str(&b, NFTA_OBJ_TABLE, i->table);
	return nft_dump(&b, take_counter, c);
}

static uint64_t unlogged_of(const struct counters *c, const char *id)
{
	size_t n = strlen(id);
	for (unsigned i = 0; i < c->n; i++)
		if (strncmp(c->v[i].id, id, n) == 0 && strcmp(c->v[i].id + n, "~") == 0)
			return c->v[i].packets;
	return 0;
}

int nft_ns_counters(struct iso *i, struct buf *out)
{
	static struct counters c; /* one thread */
	c.n = 0;
	int err = dump(i, &c);
	for (unsigned k = 0; k < c.n && !err; k++) {
		uint64_t unlogged = unlogged_of(&c, c.v[k].id);
		if (c.v[k].id[strlen(c.v[k].id) - 1] == '~')
			continue;
		size_t mark = wire_open(out, N_T_COUNTER);
		wire_str(out, N_T_ID, c.v[k].id);
		wire_u64(out, N_T_FLOWS, c.v[k].packets);
		wire_u64(out, N_T_UNLOGGED, unlogged);
		wire_close(out, mark);
	}
	return err;
}
