/* lib/disk with several threads at once on one overlay, and the power cut meanwhile: sectors of four writers in every grain, so that each grain is taken
 * over under a race; flushes by all of them; and grains of one writer each for what works on whole ones. */
#include "tests/unit/cutdisk.h"
#include "tests/unit/tap.h"

#include <sched.h>

enum { THREADS = 4, DISKS = 40, LIVES = 5, GRAIN_SECTORS = 8, MIXED = GRAIN_SECTORS * 24, TURNS = 60 };

static _Atomic unsigned failed, stale;
static _Atomic uint32_t next_value = 2;
static _Atomic unsigned turns;

static void give_way(void)
{
	static _Atomic unsigned n;

	if (++n % 3)
		sched_yield();
}

static bool put(uint32_t sector, uint32_t n, uint32_t value)
{
	uint8_t data[GRAIN_SECTORS * SECTOR];
	uint64_t at = (uint64_t)sector * SECTOR, end = at + (uint64_t)n * SECTOR;

	for (uint32_t i = 0; i < n; i++) {
		stamp(data + i * SECTOR, sector + i, value);
		wrote(sector + i, value);
	}
	while (at < end) {
		struct iovec v = { data + (at - (uint64_t)sector * SECTOR), (size_t)(end - at) };
		ssize_t got = disk_writev(&d, &v, 1, at);

		if (got <= 0)
			return false;
		at += (uint64_t)got;
	}
	return true;
}

/* What this thread wrote last, whatever others do to the grain. */
static void look(uint32_t sector)
{
	uint8_t data[SECTOR];
	struct iovec v = { data, SECTOR };

	if (disk_readv(&d, &v, 1, (uint64_t)sector * SECTOR) != SECTOR)
		failed++;
	else if (!holds(data, sector, model[sector].now))
		stale++;
}

static bool zero(uint32_t sector, uint32_t n, bool unmap)
{
	for (uint32_t i = 0; i < n; i++)
		wrote(sector + i, 0);
	return disk_zero(&d, (uint64_t)sector * SECTOR, (uint64_t)n * SECTOR, unmap) == 0;
}

static bool flush(unsigned me)
{
	if (disk_flush(&d))
		return false;
	for (uint32_t i = 0; i < DISK_SECTORS; i++)
		if ((i < MIXED ? i : i / GRAIN_SECTORS) % THREADS == me) {
			model[i].safe = model[i].now;
			model[i].n_since = 0;
		}
	return true;
}

static bool turn(unsigned me, uint32_t random)
{
	uint32_t value = next_value++, what = random % 16, mixed = (random >> 4) % (MIXED / THREADS) * THREADS + me;
	uint32_t own = MIXED + ((random >> 4) % ((DISK_SECTORS - MIXED) / GRAIN_SECTORS / THREADS) * THREADS + me) * GRAIN_SECTORS;

	if (what == 0)
		return flush(me);
	if (what == 1)
		return zero(mixed, 1, random >> 20 & 1);
	if (what == 2)
		return zero(own, GRAIN_SECTORS, random >> 20 & 1);
	if (what < 5)
		return put(own, GRAIN_SECTORS, value);
	if (what == 5)
		return put(own + 2, 3, value);
	if (what < 8) {
		look(what == 6 ? mixed : own);
		return true;
	}
	return put(mixed, 1, value);
}

static void *writer(void *arg)
{
	unsigned me = *(unsigned *)arg;
	uint32_t random = next_value * 2654435761u + me + 1;

	for (int i = 0; i < TURNS && !dead; i++, turns++) {
		random ^= random << 13, random ^= random >> 17, random ^= random << 5;
		if (!turn(me, random) && !dead)
			failed++;
	}
	return NULL;
}

static void life(void)
{
	pthread_t t[THREADS];
	unsigned me[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		me[i] = i;
		if (pthread_create(&t[i], NULL, writer, &me[i]))
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

int main(void)
{
	struct fault f = { "" };
	unsigned wrong = 0, lost = 0, left = 0;

	srand(20261122);
	for (unsigned round = 0; round < DISKS; round++) { /* a new disk: its grains are the base's again */
		new_files(&f);
		if (reopen(&f))
			abort();
		for (unsigned i = 0; i < LIVES; i++) {
			meanwhile = give_way;
			no_holes = (round + i) % 3 == 2;
			life();
			meanwhile = NULL;
			wrong += dead ? 0 : wrong_now();
			for (unsigned j = 0; j < DISK_BUSY_MAX; j++)
				left += d.busy[j].end != 0;
			power_cut(&f);
			lost += wrong_after_cut();
		}
		disk_done(&d);
		close(base_fd);
		close(files[TOP].safe_fd), close(files[MAP].safe_fd);
	}
	ok(failed == 0, "%u requests failed", failed);
	ok(stale == 0, "%u reads saw less than their own thread had written", stale);
	ok(wrong == 0, "%u sectors read other than written", wrong);
	ok(lost == 0, "%u sectors neither old nor new after %d power cuts", lost, DISKS * LIVES);
	ok(left == 0 && turns > DISKS * LIVES * 20, "%u grains held after all is done, %u turns", left, turns);
	return tap_done();
}
