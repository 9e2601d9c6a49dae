/*
 * nf_tables over netlink: a batch is one transaction (all of it holds or none), a rule is what it matches and what happens then. nft(8) shows with
 * --debug=netlink what these turn into. Sizes and names are ours; what a batch cannot hold fails at its commit.
 */
#ifndef API_NETD_NFT_H
#define API_NETD_NFT_H

#include "lib/base/buf.h"

#define NFT_CHAIN_MAX 48u
#define NFT_BATCH_MAX (32u << 20)

struct nft {
	int fd;          /* owned, NETLINK_NETFILTER; -1: the kernel has none */
	uint32_t seq;
};
int nft_init(struct nft *n);                 /* of the host. 0 or -errno */
int nft_take(struct nft *n, int fd_taken);   /* a socket that somebody opened: queues made large. 0 or -errno */
/* Sends one request (or batch; sequence numbers rise to last_seq) and reads acknowledgements until `acks` came: 0 or the first error (-errno). */
int netlink_talk(int fd, const void *msg, size_t len, uint32_t last_seq, unsigned acks);
/* Of an answer of n bytes the message at *at, which moves behind it; NULL when no whole one is left. */
struct nlmsghdr;
struct nlmsghdr *netlink_next(char *answer, size_t n, size_t *at);
int netlink_error(struct nlmsghdr *h); /* of an NLMSG_ERROR: 0 is an acknowledgement; -EPROTO when it is cut */

/* -- nft_msg.c -- */
struct nft_batch {
	struct nft *nft;
	const char *table;
	uint8_t family;      /* NFPROTO_INET, NFPROTO_NETDEV */
	uint32_t first_seq;
	uint32_t set_id;
	uint16_t log_group;  /* of NFLOG; 0: NFT_LOG_GROUP */
	size_t msg, last;    /* offsets: the message being written, the last command */
	struct buf out;
};
void nft_begin(struct nft_batch *b, struct nft *n, uint8_t family, const char *table);
/* Ends the batch, whatever becomes of it. 0 or the first error. */
int nft_commit(struct nft_batch *b);
void nft_family(struct nft_batch *b, uint8_t family); /* of the commands that follow */
void nft_table_add(struct nft_batch *b);     /* also when it is there */
void nft_table_del(struct nft_batch *b);     /* it must be there */
struct nft_hook {
	const char *type;    /* "filter", "nat" */
	uint32_t hook;
	int32_t priority;
	const char *device;  /* family netdev */
	bool drop;           /* what no rule decides */
};
void nft_chain_add(struct nft_batch *b, const char *chain, const struct nft_hook *hook); /* hook NULL: a plain chain */
void nft_chain_flush(struct nft_batch *b, const char *chain);
void nft_chain_del(struct nft_batch *b, const char *chain); /* with its rules; it must be there */
void nft_counter_add(struct nft_batch *b, const char *name);
enum nft_set_flag { NFT_SET_OF_VERDICTS = 1, NFT_SET_TIMED = 2 };
/* What a key is: nft(8) shows it by this number, the kernel only looks at its length. */
enum nft_key { NFT_KEY_ADDR4 = 7, NFT_KEY_ADDR6 = 8, NFT_KEY_LINK = 41, NFT_KEY_ADDR4_PORT = 7 << 6 | 13, NFT_KEY_ADDR6_PORT = 8 << 6 | 13 };
void nft_set_add(struct nft_batch *b, const char *set, enum nft_key key, unsigned flags);
struct nft_elem {
	const void *key;
	unsigned key_bytes;
	const char *chain;   /* verdict map: jump or goto there */
	bool jump;
	uint64_t timeout_ms;
};
void nft_elem_add(struct nft_batch *b, const char *set, const struct nft_elem *e);
void nft_elem_del(struct nft_batch *b, const char *set, const struct nft_elem *e);
/* Attributes, for other messages of netfilter (ct.c, nft_ns.c). */
void nft_message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id);
void nft_put(struct nft_batch *b, uint16_t type, const void *p, size_t n);
void nft_put_str(struct nft_batch *b, uint16_t type, const char *s);
void nft_put_u32(struct nft_batch *b, uint16_t type, uint32_t v); /* big endian, as all of nf_tables */
void nft_put_u64(struct nft_batch *b, uint16_t type, uint64_t v);
size_t nft_nest(struct nft_batch *b, uint16_t type);
void nft_end(struct nft_batch *b, size_t nest);

/* -- nft_rule.c -- */
enum nft_verdict {
	NFT_THEN_NOTHING, NFT_THEN_ACCEPT, NFT_THEN_DROP, NFT_THEN_GOTO, NFT_THEN_JUMP, NFT_THEN_RETURN,
	NFT_THEN_REFUSE,     /* TCP by a reset, the rest by ICMP(v6) admin-prohibited: two rules */
	NFT_THEN_MASQUERADE,
};
enum { NFT_CT_INVALID = 1, NFT_CT_ESTABLISHED = 2, NFT_CT_RELATED = 4, NFT_CT_NEW = 8 };
/* Zero: not looked at. What is given must all hold. */
struct nft_rule {
	const char *chain;
	const char *in, *out;         /* interface name; a last '*' means "begins so" */
	bool in_not, out_not;         /* … is another one */
	const char *in_set, *out_set; /* set of interface names */
	bool out_set_not;
	uint32_t ct;                  /* states, one of them */
	uint8_t family;               /* 4, 6 */
	uint8_t proto;                /* 6, 17, 1, 58 */
	uint16_t port;                /* of the destination; proto must be 6 or 17 */
	uint8_t icmp;                 /* 1 + type; proto must be 1 or 58 */
	const uint8_t *src, *dst;     /* address of `family` … */
	uint8_t src_bits, dst_bits;   /* … the first bits of it */
	bool src_not;
	const char *src_set, *dst_set; /* set of addresses of `family` */
	const char *vmap_in;          /* verdict map by the interface it came in: what it says is done */
	const char *vmap_dst;         /* … by the destination's address … */
	bool vmap_port;               /* … and port */
	struct { uint8_t base, offset, len; const uint8_t *is; bool not; } raw[4]; /* bytes of a packet: base 1 link, 2 network, 3 transport header */
	unsigned n_raw;
	uint16_t ethertype;           /* family netdev */
	uint32_t uid;                 /* of the socket it comes from; hook output */
	const char *counter;          /* named counter: counts here, after the match */
	unsigned flows_over;          /* flows that this rule has let through and that still run are more than that */
	unsigned limit_per_s;         /* the rest of the rule only so often */
	const char *log;              /* prefix for NFLOG */
	enum nft_verdict then;
	const char *to;
};
void nft_rule(struct nft_batch *b, const struct nft_rule *r);
#define NFT_LOG_GROUP 1u   /* lib/wire/gate.h */
#define NFT_LOG_SNAPLEN 128u
#define NFT_LOG_BURST 500u

/* -- nft_dump.c: what the kernel lists -- */
struct nft_bytes { const uint8_t *p; size_t n; };
/* The first attribute of that type. false: there is none, or what stands before it is broken. */
bool nft_attr(const void *attrs, size_t n, unsigned type, struct nft_bytes *out);
/* Sends the one request in b (a dump; b is ended) and calls take with the attributes of each answer. 0 or -errno. */
int nft_dump(struct nft_batch *b, void (*take)(void *arg, const struct nft_bytes *attrs), void *arg);

/* What the kernel lacks, found by trying each part alone: a name as "CONFIG_NFT_MASQ", or NULL. */
const char *nft_missing(struct nft *n);

#endif
