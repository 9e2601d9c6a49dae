/* virtio-rng. */
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/rng.h"

#include <errno.h>

static struct gm gm;
static struct vdrv d;

static void test_host_refuses(struct rng *r)
{
	struct vdrv_seg small = { 0x60000, 32, true };
	struct rng *none;
	uint64_t errors = vdev_stats_get(d.v).host_errors;
	uint32_t id, len = 1;
	unsigned answered = 0;

	induce(INDUCE_calloc, 0, ENOMEM);
	ok(rng_new(&none, &gm) == -ENOMEM && induced(), "no memory for a device");
	induce(INDUCE_pthread_mutex_init, 0, EAGAIN);
	ok(rng_new(&none, &gm) == -EAGAIN && induced(), "no lock for it");
	vdrv_start(&d, &gm, rng_vdev(r), 0, 64);
	induce(INDUCE_random_fill, 0, ENOSYS);
	vdrv_add(&d, 0, &small, 1);
	vdrv_kick(&d, 0);
	ok(induced() && vdrv_used(&d, 0, &id, &len) && len == 0 && vdev_stats_get(d.v).host_errors == errors + 1, "a host without random bytes gives none");
	for (int i = 0; i < 40; i++)
		vdrv_add(&d, 0, &small, 1);
	vdrv_kick(&d, 0);
	while (vdrv_used(&d, 0, &id, &len))
		answered += len == 32;
	ok(answered == 32, "32 requests a turn");
	vdrv_kick(&d, 0);
	ok(vdrv_used(&d, 0, &id, &len) && len == 32, "the rest with the next");
}

int main(void)
{
	struct rng *r;
	struct vdrv_seg big = { 0x40000, 0x10000, true }, small[2] = { { 0x60000, 3, true }, { 0x60010, 300, true } };
	struct vdrv_seg readable = { 0x40000, 16, false };
	uint32_t id, len = 0;
	uint8_t b[512] = { 0 }, zero[512] = { 0 };

	rng_free(NULL);
	if (gm_init(&gm, 1 << 20, NULL) || rng_new(&r, &gm))
		return 1;
	ok(vdrv_start(&d, &gm, rng_vdev(r), 0, 16) == 15, "up");
	ok(mmio_read(d.v, 0x100, 4) == 0, "no config space");
	vdrv_add(&d, 0, &readable, 1);
	vdrv_kick(&d, 0);
	ok(vdrv_used(&d, 0, &id, &len) && len == 0 && vdev_stats_get(d.v).errors == 1, "a buffer that cannot be written gets nothing");
	vdrv_add(&d, 0, &big, 1);
	vdrv_kick(&d, 0);
	ok(vdrv_used(&d, 0, &id, &len) && len == RNG_REQUEST_BYTES_MAX, "a large request is answered in part");
	gm_read(&gm, 0x40000 + RNG_REQUEST_BYTES_MAX, b, 512);
	ok(!memcmp(b, zero, 512), "nothing beyond what was said");
	vdrv_add(&d, 0, small, 2);
	vdrv_kick(&d, 0);
	ok(vdrv_used(&d, 0, &id, &len) && len == 303, "over two buffers");
	gm_read(&gm, 0x60010, b, 300);
	ok(memcmp(b, zero, 300) != 0, "not zeros");
	gm_read(&gm, 0x60003, b, 13);
	ok(!memcmp(b, zero, 13), "not between them");
	gm_read(&gm, 0x60010, b, 150);
	gm_read(&gm, 0x60010 + 150, b + 150, 150);
	ok(memcmp(b, b + 150, 150) != 0, "not repeated");
	ok(d.irqs && vdev_stats_get(d.v).in_bytes == RNG_REQUEST_BYTES_MAX + 303, "interrupts and counters");
	test_host_refuses(r);
	rng_free(r);
	gm_done(&gm);
	return tap_done();
}
