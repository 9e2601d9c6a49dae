/* virtio-rng by registers and rings. */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void nothing(struct fuzz *f)
{
	(void)f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static struct rng *r;
	static struct fuzz f;

	if (!r && (gm_init(&gm, 1 << 20, NULL) || rng_new(&r, &gm)))
		abort();
	f = (struct fuzz){ .gm = &gm, .d = { .v = rng_vdev(r) }, .host = nothing };
	fuzz_run(&f, data, size);
	return 0;
}
