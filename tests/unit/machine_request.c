#include "vmm/machine/request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tap.h"

static struct boot_request r;
static struct fault f;
static int fds[4];

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A frame of the usual fields with one changed by `more`. */
static int parse(uint64_t vcpus, uint64_t ram, const char *cmdline, void (*more)(struct buf *b))
{
	struct buf b;
	struct wire_msg m;
	size_t mark, used;
	int err, was[4];

	for (unsigned i = 0; i < 4; i++)
		was[i] = fds[i] = memfd_new("x");
	f.text[0] = 0;
	buf_init(&b, 70000);
	mark = wire_begin(&b, V_BOOT, 1);
	wire_u64(&b, V_T_VCPUS, vcpus);
	wire_u64(&b, V_T_RAM_BYTES, ram);
	wire_str(&b, V_T_CMDLINE, cmdline);
	if (more)
		more(&b);
	else
		wire_u64(&b, V_T_KERNEL_FD, 0);
	wire_end(&b, mark);
	err = wire_parse(buf_data(&b), buf_len(&b), &m, &used);
	if (!err)
		err = request_parse(&r, &m, fds, 4, &f);
	buf_done(&b);
	request_done(&r);
	for (unsigned i = 0; i < 4; i++)
		if (is_open(was[i])) {
			close(was[i]);
			err = -EMFILE;
		}
	return err;
}

static void disk(struct buf *b, uint64_t fd, const char *id)
{
	size_t mark = wire_open(b, V_T_DISK);

	wire_u64(b, V_T_FD, fd);
	wire_u64(b, V_T_READONLY, 1);
	wire_str(b, V_T_ID, id);
	wire_close(b, mark);
}

static void overlay(struct buf *b, uint64_t top, uint64_t base, uint64_t map)
{
	size_t mark = wire_open(b, V_T_DISK);

	wire_u64(b, V_T_FD, top);
	wire_u64(b, V_T_BASE_FD, base);
	wire_u64(b, V_T_MAP_FD, map);
	wire_close(b, mark);
}

static void over_base(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 3);
	overlay(b, 0, 1, 2);
}

static void own_base(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 3);
	overlay(b, 0, 0, 2);
}

static void good(struct buf *b)
{
	size_t mark;

	wire_u64(b, V_T_KERNEL_FD, 2);
	disk(b, 0, "root");
	mark = wire_open(b, V_T_NET);
	wire_u64(b, V_T_FD, 3);
	wire_bytes(b, V_T_MAC, "\2\0\0\0\0\1", 6);
	wire_close(b, mark);
	wire_u64(b, V_T_CID, 3);
}

static void twice(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 0);
	disk(b, 0, "root");
}

static void beyond(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 1ull << 40);
}

static void long_id(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 0);
	disk(b, 1, "twenty-one characters");
}

static void slow_disk(struct buf *b)
{
	size_t mark;

	wire_u64(b, V_T_KERNEL_FD, 0);
	mark = wire_open(b, V_T_DISK);
	wire_u64(b, V_T_FD, 1);
	wire_u64(b, V_T_BYTES_S, 10);
	wire_close(b, mark);
}

static void host_cid(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 0);
	wire_u64(b, V_T_CID, 2);
}

static void no_kernel(struct buf *b)
{
	(void)b;
}

static void many_disks(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 0);
	for (unsigned i = 0; i < 12; i++)
		disk(b, 1 + i, NULL);
}

static void net(struct buf *b, unsigned queues, uint64_t bytes_s)
{
	size_t mark;

	wire_u64(b, V_T_KERNEL_FD, 0);
	mark = wire_open(b, V_T_NET);
	for (unsigned i = 0; i < queues; i++)
		wire_u64(b, V_T_FD, 1 + i);
	wire_bytes(b, V_T_MAC, "\2\0\0\0\0\1", 6);
	wire_u64(b, V_T_TX_BYTES_S, bytes_s);
	wire_close(b, mark);
}

static void two_queues(struct buf *b)
{
	net(b, 2, 125000);
}

static void five_queues(struct buf *b)
{
	net(b, 5, 0);
}

static void no_queue(struct buf *b)
{
	net(b, 0, 0);
}

static void slow_card(struct buf *b)
{
	net(b, 1, 10);
}

static void broken_disk(struct buf *b)
{
	wire_u64(b, V_T_KERNEL_FD, 0);
	wire_bytes(b, V_T_DISK, "\1\0\0\0\377\377\377\377", 8);
}

int main(void)
{
	char long_line[VMM_CMDLINE_MAX + 8];

	memset(long_line, 'x', sizeof(long_line) - 1);
	long_line[sizeof(long_line) - 1] = 0;
	ok(!parse(2, 64 << 20, "quiet", good) && r.vcpus == 2 && r.n_disks == 1 && r.disk[0].read_only && !strcmp(r.disk[0].id, "root") &&
	   r.n_nets == 1 && r.cid == 3 && !strcmp(r.cmdline, "quiet"), "a request with everything");
	ok(!parse(1, 64 << 20, NULL, NULL) && !r.cmdline[0], "the least there can be; descriptors that nobody named are closed");
	ok(parse(0, 64 << 20, "", NULL) == -EINVAL && parse(9, 64 << 20, "", NULL) == -EINVAL, "0 and 9 vCPUs");
	ok(parse(1, 1 << 20, "", NULL) == -EINVAL && strstr(f.text, "RAM"), "1 MiB of RAM");
	ok(parse(1, 64 << 20, long_line, NULL) == -EINVAL && strstr(f.text, "command line"), "a command line that is too long");
	ok(parse(1, 64 << 20, "", twice) == -EBADF, "a descriptor named twice");
	ok(parse(1, 64 << 20, "", over_base) == 0, "a disk over a base: %s", f.text);
	ok(parse(1, 64 << 20, "", own_base) == -EBADF, "a disk that is its own base");
	ok(parse(1, 64 << 20, "", beyond) == -EBADF, "a descriptor that was not sent");
	ok(parse(1, 64 << 20, "", long_id) == -EINVAL, "an id of 21 characters");
	ok(parse(1, 64 << 20, "", slow_disk) == -EINVAL, "ten bytes a second");
	ok(parse(1, 64 << 20, "", host_cid) == -EINVAL, "the host's own context id");
	ok(parse(1, 64 << 20, "", no_kernel) == -EINVAL && strstr(f.text, "kernel"), "no kernel");
	ok(parse(1, 64 << 20, "", many_disks) < 0, "more disks than there can be");
	ok(parse(1, 64 << 20, "", broken_disk) < 0, "a broken record");
	ok(parse(1, 64 << 20, "", two_queues) == 0 && r.net[0].n_fds == 2 && r.net[0].limit[SHAPE_OUT].bytes_s == 125000 && !r.net[0].limit[SHAPE_IN].bytes_s,
	   "a network card of two queues with a limit: %s", f.text);
	ok(parse(1, 64 << 20, "", five_queues) < 0 && parse(1, 64 << 20, "", no_queue) == -EINVAL, "of five, and of none");
	ok(parse(1, 64 << 20, "", slow_card) == -EINVAL && strstr(f.text, "slow"), "a limit that is a cut");
	return tap_done();
}
