/* api/netd/rtnl.c: whose answer is whose. Asks the kernel only what everybody may ask. */
#include "api/netd/netd.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct ask {
	struct nlmsghdr head;
	struct ifinfomsg info;
};

static struct ask link_by_index(int index, uint32_t seq)
{
	return (struct ask){
		.head = { .nlmsg_len = sizeof(struct ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = seq },
		.info = { .ifi_index = index },
	};
}

int main(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct ask here = link_by_index(1, 1), gone = link_by_index(0x7ffffff0, 2), again[2];

	if (fd < 0 || netlink_talk(fd, &here, sizeof(here), 1, 1)) {
		ok(1, "netlink # SKIP not here");
		return tap_done();
	}
	ok(netlink_talk(fd, &gone, sizeof(gone), 2, 1) == -ENODEV, "a refusal is heard");

	/* A batch of which the first part fails leaves the answers to its other parts unread. */
	again[0] = link_by_index(0x7ffffff0, 3);
	again[1] = link_by_index(0x7ffffff1, 4);
	ok(netlink_talk(fd, again, sizeof(again), 4, 2) == -ENODEV, "the first refusal of a batch is heard");
	here = link_by_index(1, 5);
	ok(netlink_talk(fd, &here, sizeof(here), 5, 1) == 0, "the second one does not answer the next request");
	gone = link_by_index(0x7ffffff0, 6);
	ok(netlink_talk(fd, &gone, sizeof(gone), 6, 1) == -ENODEV, "nor hides what is refused then");
	close(fd);
	return tap_done();
}
