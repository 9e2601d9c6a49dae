#include "agent/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BACKLOG 1024 /* a host may ask for all streams at once; beyond it connections are refused before they can be told why */

union address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

/* Socket length, or -errno. */
static int parse(const char *text, bool listen, union address *a)
{
	uint64_t port;
	memset(a, 0, sizeof *a);
	if (strncmp(text, "vsock:", 6) == 0) {
		if (parse_u64(text + 6, UINT32_MAX - 1, &port) < 0)
			return -EINVAL;
		a->vm.svm_family = AF_VSOCK;
		a->vm.svm_cid = listen ? VMADDR_CID_ANY : VMADDR_CID_HOST;
		a->vm.svm_port = (unsigned)port;
		return sizeof a->vm;
	}
	if (strncmp(text, "unix:", 5) == 0 && strlen(text + 5) < sizeof a->un.sun_path && text[5]) {
		a->un.sun_family = AF_UNIX;
		strcpy(a->un.sun_path, text + 5);
		return sizeof a->un;
	}
	return -EINVAL;
}

int stream_listen(const char *address)
{
	union address a;
	int len = parse(address, true, &a);
	if (len < 0)
		return len;
	if (a.any.sa_family == AF_UNIX)
		(void)unlink(a.un.sun_path);
	AUTO_FD fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, &a.any, (socklen_t)len) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	int out = fd;
	fd = -1;
	return out;
}

int stream_connect(const char *address)
{
	union address a;
	int len = parse(address, false, &a);
	if (len < 0)
		return len;
	AUTO_FD fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (connect(fd, &a.any, (socklen_t)len) < 0 && errno != EINPROGRESS))
		return -errno;
	int out = fd;
	fd = -1;
	return out;
}
