/*
 * Any datagrams as the kernel's answers to netd's questions of rtnetlink and of conntrack. The first byte says what is asked, then come datagrams, each behind its
 * length in two bytes. What is read beyond a datagram's end is poisoned under ASan: the buffer it stands in is far larger.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/netd/rtnl.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON 1
#endif
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *left;
static size_t n_left;
static char *buffer; /* of the last recv() */
static size_t buffer_bytes;

static void lift(void)
{
	if (buffer)
		ASAN_UNPOISON_MEMORY_REGION(buffer, buffer_bytes);
	buffer = NULL;
}

/* In the place of the C library's. */
ssize_t recv(int fd, void *p, size_t cap, int flags)
{
	size_t n;

	(void)fd;
	(void)flags;
	lift();
	if (n_left < 2) {
		errno = EAGAIN;
		return -1;
	}
	n = left[0] | (size_t)left[1] << 8;
	left += 2;
	n_left -= 2;
	n = n < n_left ? n : n_left;
	n = n < cap ? n : cap;
	memcpy(p, left, n);
	left += n;
	n_left -= n;
	buffer = p;
	buffer_bytes = cap;
	ASAN_POISON_MEMORY_REGION(buffer + n, cap - n);
	return (ssize_t)n;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	(void)fd;
	(void)p;
	(void)flags;
	return (ssize_t)n;
}

ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *a, socklen_t len)
{
	(void)a;
	(void)len;
	return send(fd, p, n, flags);
}

static unsigned seen;

static void on_name(void *arg, const char *name)
{
	(void)arg;
	seen += (unsigned)strlen(name);
}

static void on_link(void *arg, const char *name, const struct link_info *l)
{
	on_name(arg, name);
	if (!l->ours)
		abort();
}

static void on_addr(void *arg, const struct net_addr *a)
{
	(void)arg;
	if (a->family != 4 && a->family != 6)
		abort();
	seen += a->a[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rtnl r = { .fd = -1, .alias = NETD_ALIAS };
	struct nft n = { .fd = -1 };
	struct link_info link;
	struct rt_request q;
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	int index = 0;

	if (!size)
		return 0;
	left = data + 1;
	n_left = size - 1;
	switch (*data % 7) {
	case 0: rtnl_link_find(&r, "brvm0", &link); break;
	case 1: rtnl_each_ours(&r, on_link, NULL); break;
	case 2: rtnl_each_name(&r, on_name, NULL); break;
	case 3: rtnl_each_addr(&r, on_addr, NULL); break;
	case 4: rtnl_default_link(&r, &index); break;
	case 5: ct_flush_from(&n, &(struct net_addr){ .family = 4, .bits = 32, .a = { 10, 0, 0, 2 } }); break;
	default:
		rt_begin(&r, &q, RTM_DELLINK, 0, &info, sizeof info);
		rt_ask(&r, &q);
	}
	lift();
	return 0;
}
