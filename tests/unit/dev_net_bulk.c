/* virtio-net, bulk transfers: the driver kicks once for several packets, nothing that it added stays, and whatever else it sends goes at once. */
#include "vmm/dev/net_priv.h" /* before netdrv.h, whose card is a global of the name n */

#include "tests/unit/netdrv.h"

#define BULK 20000u

/* How many packets more the driver may add without a kick. */
static unsigned ahead(unsigned pair)
{
	struct vdrv_q *q = &d.q[2 * pair + 1];
	uint16_t event = 0;

	gm_read_u16(&gm, q->used + 4 + 8u * q->size, &event);
	return (uint16_t)(event - q->avail_idx);
}

/* As a driver that was told not to kick yet. */
static void add(unsigned pair, uint32_t len)
{
	struct vdrv_seg s = { 0x50000, HDR + len, false };

	vdrv_add(&d, 2 * pair + 1, &s, 1);
}

static unsigned wire_takes(unsigned pair)
{
	unsigned got = 0;

	while (on_wire(pair) > 0)
		got++;
	return got;
}

static void bulk(unsigned pair, int turns)
{
	while (turns-- > 0) {
		transmit(pair, 1, BULK);
		wire_takes(pair);
	}
}

/* A transfer until the driver may add so many. Whenever this machine pauses for a millisecond the device begins anew, so this may take some turns. */
static bool reach(unsigned packets)
{
	uint64_t until = now_mono_ms() + 20000;

	do
		bulk(0, 1);
	while (ahead(0) != packets && ahead(0) <= NET_AHEAD_MAX && now_mono_ms() < until);
	return ahead(0) == packets && n->pair[0].late.slot;
}

static bool waits_for(unsigned pair, unsigned packets)
{
	uint64_t until = now_mono_ms() + 5000;
	unsigned got = wire_takes(pair);

	while (got < packets && now_mono_ms() < until) {
		ev_once(loop, 10);
		got += wire_takes(pair);
	}
	return got == packets;
}

static void test_ahead(void)
{
	unsigned most = 0;

	start(VDEV_F(VIRTIO_RING_F_EVENT_IDX));
	bulk(0, NET_AHEAD_STEP);
	ok(ahead(0) == 0 && !n->pair[0].late.slot, "the first packets of a transfer are kicked for, each");
	ok(reach(1), "then one may be added without a kick");
	transmit(0, 1, 100);
	ok(ahead(0) == 0 && !n->pair[0].late.slot && on_wire(0) == HDR + 100, "a small packet is not part of it");
	ok(reach(NET_AHEAD_MAX), "then more, …");
	for (int i = 0; i < 200; i++) {
		bulk(0, 1);
		most = ahead(0) > most ? ahead(0) : most;
	}
	ok(most <= NET_AHEAD_MAX && !vdrv_broken(&d), "… never more than %d", NET_AHEAD_MAX);
	ok(ahead(1) == 0, "each pair for itself");
}

/* The driver has no more to send, or less than thought. */
static void test_late(void)
{
	uint64_t errors = vdev_stats_get(d.v).errors;

	ok(reach(2), "two may be added");
	add(0, BULK);
	ok(waits_for(0, 1), "one alone, without a kick, is found in time");
	ok(ahead(0) == 0, "the next one is kicked for");
	bulk(0, -NET_AHEAD_LATE);
	ok(ahead(0) == 0, "so are those of many turns");
	ok(reach(1) && vdev_stats_get(d.v).errors == errors, "then it begins anew");
	while (n->pair[0].late.slot)
		ev_once(loop, 10);
	ok(ahead(0) == 0, "nothing more comes: the next one is kicked for, too");
}

static void test_answer(void)
{
	struct vdrv_seg s = { 0x40000, 2000, true };

	ok(reach(1), "a transfer");
	vdrv_add(&d, 0, &s, 1);
	vdrv_kick(&d, 0);
	add(0, BULK);
	arrive(0, 2, 60);
	turn();
	ok(used(0) == 1 && waits_for(0, 1), "what comes in makes the device look");
}

static void test_ends(void)
{
	ok(reach(1), "a transfer");
	add(0, BULK);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	turn();
	ok(waits_for(0, 0), "that a reset ends");
	while (n->pair[0].late.slot)
		ev_once(loop, 10);
	ok(wire_takes(0) == 0, "whose timer finds nothing");
	start(0);
	bulk(0, 200);
	ok(!n->pair[0].late.slot, "a driver without event indices kicks as ever");
	start(VDEV_F(VIRTIO_RING_F_EVENT_IDX));
	bulk(0, NET_AHEAD_STEP);
	ok(ahead(0) == 0, "who comes next begins at the beginning");
	reach(1);
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || !make_card(PAIRS))
		return 1;
	start(0);
	test_ahead();
	test_late();
	test_answer();
	test_ends();
	drop_card(PAIRS); /* with its timer set */
	ok(ev_once(loop, 0) == 0 && gm.iov_live == 0, "nothing left behind");
	ev_free(loop);
	gm_done(&gm);
	return tap_done();
}
