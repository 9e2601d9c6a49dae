/* The channel between two of our processes, as a peer that was taken over uses it: packets of any bytes with any number of descriptors. The input is a
 * list of packets: u8 descriptors, u16 length, bytes. None may leave a descriptor behind. */
#include "lib/wire/chan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int lowest_free(int of)
{
	int fd = dup(of);

	close(fd);
	return fd;
}

static void send_packet(int fd, const uint8_t *p, size_t n, unsigned n_fds)
{
	struct iovec iov = { (void *)(uintptr_t)p, n };
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	memset(&control, 0, sizeof(control));
	if (n_fds) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (unsigned i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.h) + i * sizeof(int), &fd, sizeof(fd));
	}
	(void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chan c;
	int p[2], fds[WIRE_FDS_MAX], err = 0, free_fd;
	unsigned n_fds;
	struct wire_msg m;

	if (chan_pair(p) || chan_init(&c, p[1], 1 << 20) || (size && data[0] & 1 && chan_want_creds(p[1])))
		abort();
	free_fd = lowest_free(p[0]);
	for (size_t at = 1; at + 3 <= size && err >= 0;) {
		unsigned with = data[at] % 64;
		size_t n = data[at + 1] | (size_t)data[at + 2] << 8;

		at += 3;
		n = n < size - at ? n : size - at;
		send_packet(p[0], data + at, n, with);
		at += n;
		err = chan_recv(&c, &m, fds, &n_fds);
		if (err != 1 && n_fds)
			abort();
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
		if (lowest_free(p[0]) != free_fd)
			abort();
	}
	chan_done(&c);
	close(p[0]);
	return 0;
}
