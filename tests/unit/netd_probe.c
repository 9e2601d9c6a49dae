/* api/netd/nft_probe.c: it names what is missing exactly when a table with all of it cannot be made. In a network namespace of its own. */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/netd/nft.h"
#include "tests/unit/tap.h"

static int whole_table(struct nft *n)
{
	static const struct nft_hook filter = {.type = "filter", .hook = NF_INET_FORWARD}, nat = {.type = "nat", .hook = NF_INET_POST_ROUTING, .priority = 100};
	struct nft_batch b;
	nft_begin(&b, n, NFPROTO_INET, "mica-test");
	nft_table_add(&b);
	nft_counter_add(&b, "c");
	nft_chain_add(&b, "f", &filter);
	nft_chain_add(&b, "n", &nat);
	nft_rule(&b, &(struct nft_rule){.chain = "f", .ct = NFT_CT_NEW, .counter = "c", .limit_per_s = 1, .log = "x", .then = NFT_THEN_REFUSE});
	nft_rule(&b, &(struct nft_rule){.chain = "n", .then = NFT_THEN_MASQUERADE});
	nft_family(&b, NFPROTO_NETDEV);
	nft_table_add(&b);
	return nft_commit(&b);
}

int main(void)
{
	struct nft n;
	if (unshare(CLONE_NEWNET) || nft_init(&n)) {
		ok(1, "nf_tables # SKIP needs root, and a kernel with nf_netlink");
		return tap_done();
	}
	const char *missing = nft_missing(&n);
	int err = whole_table(&n);
	ok((missing == NULL) == (err == 0), "missing: %s; a whole table: %s", missing ? missing : "nothing", strerror(-err));
	struct nft_batch b;
	nft_begin(&b, &n, NFPROTO_INET, "mica-test");
	nft_chain_del(&b, "not-there");
	ok(nft_commit(&b) < 0, "a batch that cannot be done says so");
	nft_begin(&b, &n, NFPROTO_INET, "mica-test");
	nft_chain_add(&b, "half", NULL);
	nft_rule(&b, &(struct nft_rule){.chain = "nowhere", .then = NFT_THEN_DROP});
	ok(nft_commit(&b) == -ENOENT, "its first refusal is heard");
	nft_begin(&b, &n, NFPROTO_INET, "mica-test");
	nft_rule(&b, &(struct nft_rule){.chain = "half", .then = NFT_THEN_DROP});
	ok(nft_commit(&b) == -ENOENT, "and nothing of it was done");
	nft_begin(&b, &n, NFPROTO_INET, "mica-test");
	ok(nft_commit(&b) == 0, "an empty one is fine");
	struct nft none = {.fd = -1};
	ok(nft_missing(&none) && strcmp(nft_missing(&none), "CONFIG_NETFILTER_NETLINK") == 0, "without a socket the first option is named");
	close(n.fd);
	return tap_done();
}
