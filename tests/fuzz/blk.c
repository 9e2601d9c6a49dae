/* virtio-blk with two queues, over a base of 20 KiB, by registers and rings. Host's side: the disk grows and shrinks, is held and released. */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/blk.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct blk *b;
static int fd;
static bool held;

static void hold(void)
{
	if (held)
		blk_release(b);
	else if (blk_hold(b, 0)) /* nothing is under way: there are no threads */
		abort();
	held = !held;
}

static void host(struct fuzz *f)
{
	uint64_t n = fuzz_u(f, 1) << 9;

	if (n == 255 << 9)
		hold();
	else if (ftruncate(fd, (off_t)n) == 0)
		blk_resized(b, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static struct fuzz f;

	if (!b) {
		struct disk_files files = { fd = memfd_new("disk"), memfd_new("base"), memfd_new("map") };

		if (gm_init(&gm, 1 << 20, NULL) || ftruncate(fd, 65536) || ftruncate(files.base_fd, 20480) || disk_map_create(files.map_fd, 20480, NULL) ||
		    blk_new(&b, &gm, &files, false, "fuzz", 2, NULL))
			abort();
	}
	if (held)
		hold();
	if (ftruncate(fd, 0) || ftruncate(fd, 65536) || blk_resized(b, NULL))
		abort();
	f = (struct fuzz){ .gm = &gm, .d = { .v = blk_vdev(b) }, .features = 0x7246, .host = host };
	fuzz_run(&f, data, size);
	return 0;
}
