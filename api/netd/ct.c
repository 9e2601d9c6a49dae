#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "api/netd/netd.h"

/* All of them: the namespace is one VM's. */
int ct_flush(struct nft *n)
{
	struct { struct nlmsghdr h; struct nfgenmsg g; } m = {
		.h = {.nlmsg_len = sizeof m, .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		      .nlmsg_seq = ++n->seq},
		.g = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
	};
	return netlink_talk(n->fd, &m, sizeof m, n->seq, 1);
}
