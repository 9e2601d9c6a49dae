/* What is read of the kernel's files, and the table of launches. */
#include <stdio.h>
#include <string.h>

#include "api/core/metrics.h"
#include "tests/unit/tap.h"

static void test_loads(void)
{
	static const char *const bad[] = { "", "x", "1", "1.", "1.2", "1.2x 0.00 0.00", "0.00 0.00", "-1.00 0.00 0.00", "99999999.00 0.00 0.00" };
	uint64_t v[3];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(!metrics_loads(bad[i], v), "no loads: %zu", i);
	ok(metrics_loads("12.05 0.31 1.00 1/234 5678\n", v) && v[0] == 1205 && v[1] == 31 && v[2] == 100, "loads");
}

static void test_network(void)
{
	static const char route[] = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"
				    "br0\t0089A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n"
				    "down0\t00000000\t0100000A\t0002\t0\t0\t0\t00000000\t0\n"
				    "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n";
	static const char dev[] = "Inter-|   Receive   |  Transmit\n face |bytes packets\n"
				  "    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
				  "  eth00: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
				  "  eth0:12345 1 2 3 4 5 6 7 67890 1 0 0 0 0 0 0\n  cut: 1 2 3";
	char name[32] = "";
	uint64_t rx = 0, tx = 0;

	ok(!metrics_route("", name) && !metrics_route("title\n", name) && !metrics_route("title\neth0 0", name), "no route");
	ok(metrics_route(route, name) && strcmp(name, "eth0") == 0, "the default route's card: %s", name);
	ok(metrics_traffic(dev, "eth0", &rx, &tx) && rx == 12345 && tx == 67890, "its traffic");
	ok(metrics_traffic(dev, "lo", &rx, &tx) && tx == 7, "another's");
	ok(!metrics_traffic(dev, "eth", &rx, &tx) && !metrics_traffic(dev, "", &rx, &tx) && !metrics_traffic(dev, "cut", &rx, &tx) &&
	   !metrics_traffic("", "eth0", &rx, &tx), "none of them");
}

static void test_words(void)
{
	uint64_t v = 9;

	ok(metrics_word("MemTotal:  12 kB\nMemAvailable:    34 kB\n", "MemAvailable:", &v) && v == 34, "a word");
	ok(!metrics_word("MemTotal: 12 kB\n", "MemFree:", &v) && !metrics_word("a:", "a:", &v) && !metrics_word("a: -1", "a:", &v) &&
	   !metrics_word("a: 99999999999999999999999", "a:", &v), "no number");
}

static void test_launches(void)
{
	struct metrics m;

	metrics_open(&m);
	metrics_launch(&m, "a", 201);
	metrics_launch(&m, "a", 201);
	metrics_launch(&m, "a", 400);
	metrics_launch(&m, "b", 201);
	ok(m.n_counts == 3 && m.counts[0].n == 2 && m.counts[1].code == 400, "counted apart");
	for (unsigned i = 0; i < 2 * LAUNCH_COUNTS_MAX; i++) {
		char group[20];

		snprintf(group, sizeof(group), "g%u", i);
		metrics_launch(&m, group, 500);
	}
	ok(m.n_counts == LAUNCH_COUNTS_MAX && m.counts[LAUNCH_COUNTS_MAX - 1].n > LAUNCH_COUNTS_MAX, "and bounded");
	metrics_done(&m);
}

int main(void)
{
	test_loads();
	test_network();
	test_words();
	test_launches();
	return tap_done();
}
