/* virtio-blk on a memfd of 64 KiB, by registers and rings. Host's side: the file grows and shrinks. */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/blk.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct blk *b;
static int fd;

static void resize(struct fuzz *f)
{
	uint64_t n = fuzz_u(f, 1) << 9;

	if (ftruncate(fd, (off_t)n) == 0)
		blk_resized(b, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static struct fuzz f;

	if (!b) {
		fd = memfd_new("disk");
		if (gm_init(&gm, 1 << 20, NULL) || ftruncate(fd, 65536) || blk_new(&b, &gm, &(struct disk_files){ fd, -1, -1 }, false, "fuzz", NULL))
			abort();
	}
	if (ftruncate(fd, 0) || ftruncate(fd, 65536) || blk_resized(b, NULL))
		abort();
	f = (struct fuzz){ .gm = &gm, .d = { .v = blk_vdev(b) }, .features = 0x6246, .host = resize };
	fuzz_run(&f, data, size);
	return 0;
}
