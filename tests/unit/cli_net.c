/* cli/net: numbers with units, and a network card's state in words. */
#include "cli/net.h"
#include "tests/unit/tap.h"

#include <string.h>

static void test_numbers(void)
{
	static const struct {
		bool (*parse)(const char *text, uint64_t *out);
		const char *text;
		uint64_t want; /* UINT64_MAX: refused */
	} rows[] = {
		{ net_time_us, "100ms", 100000 }, { net_time_us, "0.5ms", 500 }, { net_time_us, "250us", 250 }, { net_time_us, "60s", 60000000 },
		{ net_time_us, "0ms", 0 }, { net_time_us, "61s", UINT64_MAX }, { net_time_us, "100", UINT64_MAX }, { net_time_us, "ms", UINT64_MAX },
		{ net_time_us, "-1ms", UINT64_MAX }, { net_time_us, "1e3ms", UINT64_MAX }, { net_time_us, "nanms", UINT64_MAX }, { net_time_us, "", UINT64_MAX },
		{ net_time_us, ".5s", UINT64_MAX }, { net_share_ppm, "5%", 50000 }, { net_share_ppm, "0.1%", 1000 }, { net_share_ppm, "100%", 1000000 },
		{ net_share_ppm, "101%", UINT64_MAX }, { net_share_ppm, "5", UINT64_MAX }, { net_rate_bytes_s, "10mbit", 1250000 },
		{ net_rate_bytes_s, "512kbit", 64000 }, { net_rate_bytes_s, "5MiB", 5242880 }, { net_rate_bytes_s, "1Gbit", 125000000 },
		{ net_rate_bytes_s, "0bit", 0 }, { net_rate_bytes_s, "10", UINT64_MAX }, { net_rate_bytes_s, "99999999GB", UINT64_MAX },
		{ net_count, "5000", 5000 }, { net_count, "10k", 10000 }, { net_count, "1.5k", 1500 }, { net_count, "k", UINT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = 0;
		bool good = rows[i].parse(rows[i].text, &v);

		ok(good == (rows[i].want != UINT64_MAX) && (!good || v == rows[i].want), "'%s'", rows[i].text);
	}
}

static void test_words(void)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
		{ "{}", "" },
		{ "{\"cut\":true,\"delay_us\":0}", "cut" },
		{ "{\"cut\":false,\"delay_us\":100000,\"jitter_us\":10000,\"loss_ppm\":50000}", "delay 100ms ±10ms, loss 5%" },
		{ "{\"cut\":true,\"rx_bytes_per_s\":1250000,\"tx_bytes_per_s\":1000,\"tx_packets_per_s\":7}", "cut, in 10mbit, out 8kbit, out 7 packets/s" },
	};
	char text[300], small[8];
	struct json j = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (json_parse_next(&j, rows[i].json, strlen(rows[i].json), 100, NULL))
			continue;
		net_chaos_words(json_root(&j), text, sizeof(text));
		ok(!strcmp(text, rows[i].want), "%s", rows[i].want);
	}
	net_chaos_words(json_root(&j), small, sizeof(small));
	ok(strlen(small) < sizeof(small), "no more than there is room for");
	net_chaos_words(NULL, text, sizeof(text));
	ok(!text[0], "no object, no words");
	json_done(&j);
}

int main(void)
{
	test_numbers();
	test_words();
	return tap_done();
}
