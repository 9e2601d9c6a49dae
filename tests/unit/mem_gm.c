/* vmm/mem: refusals first, then copies, the hole, mapped files. */
#include "tests/unit/gmdrv.h"
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"
#include "vmm/mem/gm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct fault f;

static void test_sizes(void)
{
	struct gm gm = { 0 };

	gm_done(&gm);
	ok(gm_init(&gm, 0, &f) == -EINVAL, "no memory is refused");
	gm_done(&gm);
	ok(gm_init(&gm, (1 << 20) + 1, &f) == -EINVAL && strstr(f.text, "multiple"), "a size that is no page is refused: %s", f.text);
	ok(gm_init(&gm, GM_RAM_MAX_BYTES + 4096, NULL) == -EINVAL, "too much is refused");
	gm_done(&gm);
	gm_done(&gm);
}

static void test_ranges(void)
{
	struct gm gm;
	uint8_t b[16] = { 1, 2, 3 };
	uint16_t u16;
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	struct iovec iov;

	ok(gm_init(&gm, 1 << 20, &f) == 0, "1 MiB");
	ok(gm.regions == 1 && gm_region(&gm, 0)->len_bytes == 1 << 20 && !gm_region(&gm, 1), "one region");
	ok(((uintptr_t)gm_region(&gm, 0)->host & 0x1fffff) == 0, "starts at a 2 MiB boundary");
	ok(gm_read(&gm, 1 << 20, b, 1) == -EFAULT, "read past the end");
	ok(gm_read(&gm, (1 << 20) - 8, b, 16) == -EFAULT, "read over the end");
	ok(gm_write(&gm, UINT64_MAX, b, 16) == -EFAULT, "address that wraps");
	ok(gm_write(&gm, 16, b, SIZE_MAX) == -EFAULT, "length that wraps");
	ok(gm_iov(&gm, 0, 0, &iov) == -EFAULT && gm_iov(&gm, (1 << 20) - 1, 2, &iov) == -EFAULT, "iovecs: empty, over the end");
	ok(gm_load_acquire_u16(&gm, 1, &u16) == -EFAULT && gm_store_release_u16(&gm, 3, 1) == -EFAULT, "odd index addresses");
	ok(gm_store_release_u16(&gm, (1 << 20), 1) == -EFAULT, "index past the end");
	ok(gm_has(&gm, 1 << 20, 0) && !gm_has(&gm, (1 << 20) + 1, 0), "empty ranges");

	ok(gm_write(&gm, (1 << 20) - 16, b, 16) == 0, "write up to the end");
	ok(gm_read_u32(&gm, (1 << 20) - 16, &u32) == 0 && u32 == 0x030201, "read it back, little endian");
	ok(gm_write_u64(&gm, 5, 0x1122334455667788ull) == 0 && gm_read_u64(&gm, 5, &u64) == 0 && u64 == 0x1122334455667788ull, "unaligned");
	ok(gm_store_release_u16(&gm, 8, 0xabcd) == 0 && gm_load_acquire_u16(&gm, 8, &u16) == 0 && u16 == 0xabcd, "index");
	ok(gm_iov(&gm, 4096, 100, &iov) == 0 && iov.iov_len == 100 && gm.iov_live == 1, "an iovec is counted");
	gm_iov_put(&gm, 1);
	ok(gm.iov_live == 0, "and given back");
	gm_done(&gm);
}

static void test_hole(void)
{
	struct gm gm;
	uint32_t v = 0;

	ok(gm_init(&gm, (3ull << 30) + (64 << 20), &f) == 0, "3 GiB + 64 MiB (nothing resident)");
	ok(gm.regions == 2 && gm_region(&gm, 0)->len_bytes == GM_HOLE_GPA && gm_region(&gm, 1)->gpa == GM_HOLE_END_GPA &&
	   gm_region(&gm, 1)->len_bytes == 64 << 20, "split at the hole");
	ok(gm_write_u32(&gm, GM_HOLE_GPA, 1) == -EFAULT, "the hole is no memory");
	ok(gm_write_u32(&gm, GM_HOLE_GPA - 2, 1) == -EFAULT, "nor does a write run into it");
	ok(gm_write_u32(&gm, GM_HOLE_END_GPA - 2, 1) == -EFAULT, "or out of it");
	ok(gm_write_u32(&gm, GM_HOLE_END_GPA, 7) == 0 && gm_read_u32(&gm, GM_HOLE_END_GPA, &v) == 0 && v == 7, "high memory");
	gm_done(&gm);
}

static void test_file(void)
{
	struct gm gm;
	uint32_t v = 0;
	uint8_t page[4096];
	int fd = memfd_new("kernel");

	memset(page, 'k', sizeof(page));
	ok(gm_init(&gm, 4 << 20, &f) == 0 && write_full(fd, page, 4096) == 0 && write_full(fd, page, 100) == 0, "a file of a page and a bit");
	ok(gm_map_file(&gm, 0x1000, fd, 4196, 0, 100, &f) == -EINVAL, "half a page is refused");
	ok(gm_map_file(&gm, 0x1001, fd, 4196, 0, 4096, &f) == -EINVAL, "a crooked address is refused");
	ok(gm_map_file(&gm, 0x1000, fd, 4196, 0, 0, &f) == -EINVAL, "nothing is refused");
	ok(gm_map_file(&gm, 4 << 20, fd, 4196, 0, 4096, &f) == -EFAULT, "outside RAM is refused");
	ok(gm_map_file(&gm, 0x1000, fd, 4196, 4096, 8192, &f) == -EINVAL, "more than the file has is refused: %s", f.text);
	ok(gm_map_file(&gm, 0x1000, fd, 4196, UINT64_MAX - 4095, 4096, &f) == -EINVAL, "an offset that wraps is refused");
	ok(gm_map_file(&gm, 0x1000, fd, UINT64_MAX, 0, 4096, &f) == -EINVAL, "a size that no file has is refused");
	ok(gm_map_file(&gm, 0x1000, -1, 4196, 0, 4096, &f) == -EBADF, "no file is refused");
	ok(gm_map_file(&gm, 0x1000, fd, 4196, 0, 8192, &f) == 0, "two pages, the second partly beyond the end");
	ok(gm_read_u32(&gm, 0x1000, &v) == 0 && v == 0x6b6b6b6b, "its bytes are there");
	ok(gm_read_u32(&gm, 0x2000 + 100, &v) == 0 && v == 0, "zeros after its end");
	ok(gm_write_u32(&gm, 0x1000, 5) == 0 && gm_read_u32(&gm, 0x1000, &v) == 0 && v == 5, "a write is seen");
	ok(pread(fd, &v, 4, 0) == 4 && v == 0x6b6b6b6b, "and does not reach the file");
	ok(gm_read_u32(&gm, 0x3000, &v) == 0 && v == 0 && gm_read_u32(&gm, 0xffc, &v) == 0 && v == 0, "neighbours are untouched");
	fd_close(&fd);
	gm_done(&gm);
}

/* What the host may refuse; gm_done follows each time and must find its way. */
static void test_host_refuses(void)
{
	static const struct { enum induce_call call; unsigned skip; int error; const char *what; } t[] = {
		{ INDUCE_memfd_create, 0, EMFILE, "memfd_create" }, { INDUCE_ftruncate, 0, ENOSPC, "ftruncate" },
		{ INDUCE_mmap, 0, ENOMEM, "the address range" }, { INDUCE_mmap, 1, EPERM, "the mapping" },
	};
	struct gm gm;
	int fd = memfd_new("kernel"), free_fd = dup(fd);

	close(free_fd);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		induce(t[i].call, t[i].skip, t[i].error);
		ok(gm_init(&gm, 1 << 20, &f) == -t[i].error && induced() && gm.regions == 0, "%s is refused: %s", t[i].what, f.text);
		gm_done(&gm);
		ok(gm.memfd < 0 && !gm.map && dup(fd) == free_fd && close(free_fd) == 0, "nothing is left of it");
	}
	if (gm_init(&gm, 1 << 20, NULL) || ftruncate(fd, 4096))
		return;
	induce(INDUCE_mmap, 0, ENOMEM);
	ok(gm_map_file(&gm, 0, fd, 4096, 0, 4096, &f) == -ENOMEM && induced(), "a file that cannot be mapped: %s", f.text);
	ok(gm_write_u16(&gm, 0, 1) == 0, "the memory there is still memory");
	fd_close(&fd);
	gm_done(&gm);
}

int main(void)
{
	test_sizes();
	test_ranges();
	test_hole();
	test_file();
	test_host_refuses();
	return tap_done();
}
