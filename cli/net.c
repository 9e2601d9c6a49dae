#include "cli/net.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	double factor;
};

/* A decimal and one of the units; what it comes to, rounded. false: it is none, or out of range. */
static bool number_with_unit(const char *text, const struct unit *units, double most, uint64_t *out)
{
	char *end;
	double v;
	size_t digits = strspn(text, "0123456789.");
	if (digits == 0 || text[0] == '.')
		return false;
	v = strtod(text, &end);
	if (end != text + digits) /* an exponent, hexadecimal, two points */
		return false;
	for (const struct unit *u = units; u->name; u++)
		if (strcasecmp(end, u->name) == 0) {
			v = v * u->factor + 0.5;
			if (!(v >= 0 && v <= most))
				return false;
			*out = (uint64_t)v;
			return true;
		}
	return false;
}

bool net_time_us(const char *text, uint64_t *out)
{
	static const struct unit units[] = { { "us", 1 }, { "ms", 1e3 }, { "s", 1e6 }, { NULL } };
	return number_with_unit(text, units, 60e6 + 0.5, out);
}

bool net_share_ppm(const char *text, uint64_t *out)
{
	static const struct unit units[] = { { "%", 1e4 }, { NULL } };
	return number_with_unit(text, units, 1e6 + 0.5, out);
}

/* Bits as `tc` writes them, else bytes. */
bool net_rate_bytes_s(const char *text, uint64_t *out)
{
	static const struct unit units[] = { { "bit", 0.125 }, { "kbit", 125 }, { "mbit", 125e3 }, { "gbit", 125e6 }, { "B", 1 }, { "KB", 1e3 }, { "MB", 1e6 },
		{ "GB", 1e9 }, { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 }, { NULL } };
	return number_with_unit(text, units, 1e12, out);
}

bool net_count(const char *text, uint64_t *out)
{
	static const struct unit units[] = { { "", 1 }, { "k", 1e3 }, { "m", 1e6 }, { NULL } };
	return number_with_unit(text, units, 1e12, out);
}

struct words {
	char *dst;
	size_t at, cap;
};

__attribute__((format(printf, 3, 4))) static void say(struct words *w, const char *before, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(w->dst + w->at, w->cap - w->at, "%s", w->at ? before : "");
	w->at += n > 0 && (size_t)n < w->cap - w->at ? (size_t)n : 0;
	va_start(ap, fmt);
	n = vsnprintf(w->dst + w->at, w->cap - w->at, fmt, ap);
	va_end(ap);
	w->at += n > 0 && (size_t)n < w->cap - w->at ? (size_t)n : 0;
}

void net_chaos_words(const struct json_val *v, char *dst, size_t cap)
{
	static const struct { const char *key, *word; bool bytes; } limits[] = { { "rx_bytes_per_s", "in", true }, { "tx_bytes_per_s", "out", true },
		{ "rx_packets_per_s", "in", false }, { "tx_packets_per_s", "out", false } };
	struct words w = { dst, 0, cap };
	int64_t delay = 0, jitter = 0, loss = 0;
	bool cut = false;
	dst[0] = 0;
	json_get_bool(v, "cut", &cut);
	json_get_i64(v, "delay_us", &delay);
	json_get_i64(v, "jitter_us", &jitter);
	json_get_i64(v, "loss_ppm", &loss);
	if (cut)
		say(&w, ", ", "cut");
	if (delay)
		say(&w, ", ", "delay %gms", (double)delay / 1e3);
	if (jitter)
		say(&w, " ", "±%gms", (double)jitter / 1e3);
	if (loss)
		say(&w, ", ", "loss %g%%", (double)loss / 1e4);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		int64_t n = 0;
		json_get_i64(v, limits[i].key, &n);
		if (n && !limits[i].bytes)
			say(&w, ", ", "%s %lld packets/s", limits[i].word, (long long)n);
		else if (n)
			say(&w, ", ", "%s %g%s", limits[i].word, (double)n / (n >= 125000 ? 125e3 : 125), n >= 125000 ? "mbit" : "kbit");
	}
}
