#include "api/netd/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUEUE_BYTES = 4 << 20 };

int nft_take(struct nft *n, int fd_taken)
{
	int bytes = QUEUE_BYTES;
	*n = (struct nft){.fd = fd_taken};
	/* Batches grow with policies. Failing is seen when one does not fit. */
	(void)setsockopt(n->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	(void)setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	return 0;
}

int nft_init(struct nft *n)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0) {
		*n = (struct nft){.fd = -1};
		return -errno;
	}
	return nft_take(n, fd);
}

/* ---- messages ---- */

static struct nlmsghdr *header(struct nft_batch *b, size_t at)
{
	return (struct nlmsghdr *)(void *)(buf_data(&b->out) + at);
}

void nft_message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id)
{
	struct { struct nlmsghdr h; struct nfgenmsg g; } m = {
		.h = {.nlmsg_len = sizeof m, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->nft->seq},
		.g = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id)},
	};
	b->msg = buf_len(&b->out);
	buf_add(&b->out, &m, sizeof m);
}

static void command(struct nft_batch *b, unsigned type, uint16_t flags)
{
	nft_message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, b->family, 0);
	b->last = b->msg;
}

void nft_put(struct nft_batch *b, uint16_t type, const void *p, size_t n)
{
	static const char pad[NLA_ALIGNTO];
	struct nlattr a = {.nla_len = (uint16_t)(NLA_HDRLEN + n), .nla_type = type};
	size_t whole = NLA_ALIGN(NLA_HDRLEN + n);
	buf_add(&b->out, &a, sizeof a);
	if (n)
		buf_add(&b->out, p, n);
	if (whole > NLA_HDRLEN + n)
		buf_add(&b->out, pad, whole - NLA_HDRLEN - n);
	if (!b->out.failed)
		header(b, b->msg)->nlmsg_len += (uint32_t)whole;
}

void nft_put_str(struct nft_batch *b, uint16_t type, const char *s)
{
	nft_put(b, type, s, strlen(s) + 1);
}

void nft_put_u32(struct nft_batch *b, uint16_t type, uint32_t v)
{
	v = htonl(v);
	nft_put(b, type, &v, sizeof v);
}

void nft_put_u64(struct nft_batch *b, uint16_t type, uint64_t v)
{
	v = __builtin_bswap64(v);
	nft_put(b, type, &v, sizeof v);
}

size_t nft_nest(struct nft_batch *b, uint16_t type)
{
	size_t at = buf_len(&b->out);
	nft_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nft_end(struct nft_batch *b, size_t nest)
{
	size_t n = buf_len(&b->out) - nest;
	if (n > UINT16_MAX)
		b->out.failed = true;
	if (!b->out.failed)
		((struct nlattr *)(void *)(buf_data(&b->out) + nest))->nla_len = (uint16_t)n;
}

/* ---- batches ---- */

void nft_begin(struct nft_batch *b, struct nft *n, uint8_t family, const char *table)
{
	*b = (struct nft_batch){.nft = n, .table = table, .family = family, .first_seq = n->seq + 1};
	buf_init(&b->out, NFT_BATCH_MAX);
	nft_message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

int nft_commit(struct nft_batch *b)
{
	int err = -ENOBUFS;
	/* Only the last command is acknowledged: what fails answers by itself, and before it. */
	if (!b->out.failed && b->last)
		header(b, b->last)->nlmsg_flags |= NLM_F_ACK;
	nft_message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (!b->out.failed)
		err = b->last ? netlink_talk(b->nft->fd, buf_data(&b->out), buf_len(&b->out), b->nft->seq, 1) : 0;
	buf_done(&b->out);
	return err;
}

void nft_family(struct nft_batch *b, uint8_t family)
{
	b->family = family;
}

/* ---- tables, chains, counters, sets ---- */

void nft_table_add(struct nft_batch *b)
{
	command(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	nft_put_str(b, NFTA_TABLE_NAME, b->table);
}

void nft_table_del(struct nft_batch *b)
{
	command(b, NFT_MSG_DELTABLE, 0);
	nft_put_str(b, NFTA_TABLE_NAME, b->table);
}

void nft_chain_add(struct nft_batch *b, const char *chain, const struct nft_hook *hook)
{
	command(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	nft_put_str(b, NFTA_CHAIN_TABLE, b->table);
	nft_put_str(b, NFTA_CHAIN_NAME, chain);
	if (!hook)
		return;
	size_t at = nft_nest(b, NFTA_CHAIN_HOOK);
	nft_put_u32(b, NFTA_HOOK_HOOKNUM, hook->hook);
	nft_put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)hook->priority);
	if (hook->device)
		nft_put_str(b, NFTA_HOOK_DEV, hook->device);
	nft_end(b, at);
	nft_put_u32(b, NFTA_CHAIN_POLICY, hook->drop ? NF_DROP : NF_ACCEPT);
	nft_put_str(b, NFTA_CHAIN_TYPE, hook->type);
}

void nft_chain_flush(struct nft_batch *b, const char *chain)
{
	command(b, NFT_MSG_DELRULE, 0);
	nft_put_str(b, NFTA_RULE_TABLE, b->table);
	nft_put_str(b, NFTA_RULE_CHAIN, chain);
}

void nft_chain_del(struct nft_batch *b, const char *chain)
{
	nft_chain_flush(b, chain);
	command(b, NFT_MSG_DELCHAIN, 0);
	nft_put_str(b, NFTA_CHAIN_TABLE, b->table);
	nft_put_str(b, NFTA_CHAIN_NAME, chain);
}

void nft_counter_add(struct nft_batch *b, const char *name)
{
	command(b, NFT_MSG_NEWOBJ, NLM_F_CREATE);
	nft_put_str(b, NFTA_OBJ_TABLE, b->table);
	nft_put_str(b, NFTA_OBJ_NAME, name);
	nft_put_u32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nft_end(b, nft_nest(b, NFTA_OBJ_DATA));
}

static unsigned key_bytes(enum nft_key key)
{
	switch (key) {
	case NFT_KEY_ADDR4: return 4;
	case NFT_KEY_ADDR4_PORT: return 8;
	case NFT_KEY_ADDR6_PORT: return 20;
	default: return 16;
	}
}

void nft_set_add(struct nft_batch *b, const char *set, enum nft_key key, unsigned flags)
{
	uint32_t kernel_flags = (flags & NFT_SET_OF_VERDICTS ? (uint32_t)NFT_SET_MAP : 0) | (flags & NFT_SET_TIMED ? (uint32_t)NFT_SET_TIMEOUT : 0);
	command(b, NFT_MSG_NEWSET, NLM_F_CREATE);
	nft_put_str(b, NFTA_SET_TABLE, b->table);
	nft_put_str(b, NFTA_SET_NAME, set);
	nft_put_u32(b, NFTA_SET_FLAGS, kernel_flags);
	nft_put_u32(b, NFTA_SET_KEY_TYPE, key);
	nft_put_u32(b, NFTA_SET_KEY_LEN, key_bytes(key));
	if (flags & NFT_SET_OF_VERDICTS)
		nft_put_u32(b, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
	nft_put_u32(b, NFTA_SET_ID, ++b->set_id);
	/* a note for nft(8): type 0 (byte order of the key), 4 bytes, 1 the machine's own (names), 2 the network's */
	nft_put(b, NFTA_SET_USERDATA, (const uint8_t[]){0, 4, key == NFT_KEY_LINK ? 1 : 2, 0, 0, 0}, 6);
}

static void element(struct nft_batch *b, unsigned type, uint16_t flags, const char *set, const struct nft_elem *e)
{
	command(b, type, flags);
	nft_put_str(b, NFTA_SET_ELEM_LIST_TABLE, b->table);
	nft_put_str(b, NFTA_SET_ELEM_LIST_SET, set);
	size_t list = nft_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS), one = nft_nest(b, NFTA_LIST_ELEM), key = nft_nest(b, NFTA_SET_ELEM_KEY);
	nft_put(b, NFTA_DATA_VALUE, e->key, e->key_bytes);
	nft_end(b, key);
	if (e->chain && type == NFT_MSG_NEWSETELEM) {
		size_t data = nft_nest(b, NFTA_SET_ELEM_DATA), verdict = nft_nest(b, NFTA_DATA_VERDICT);
		nft_put_u32(b, NFTA_VERDICT_CODE, (uint32_t)(e->jump ? NFT_JUMP : NFT_GOTO));
		nft_put_str(b, NFTA_VERDICT_CHAIN, e->chain);
		nft_end(b, verdict);
		nft_end(b, data);
	}
	if (e->timeout_ms && type == NFT_MSG_NEWSETELEM)
		nft_put_u64(b, NFTA_SET_ELEM_TIMEOUT, e->timeout_ms);
	nft_end(b, one);
	nft_end(b, list);
}

void nft_elem_add(struct nft_batch *b, const char *set, const struct nft_elem *e)
{
	element(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, e);
}

void nft_elem_del(struct nft_batch *b, const char *set, const struct nft_elem *e)
{
	element(b, NFT_MSG_DELSETELEM, 0, set, e);
}
