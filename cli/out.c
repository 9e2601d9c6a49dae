#include "cli/out.h"
#include "cli/codes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

int out_error(int code, const char *cause, const char *fix, const char *fmt, ...)
{
	char why[2048] = "", name[CODE_MAX];
	va_list ap;
	if (cause)
		snprintf(why, sizeof(why), "%s", cause);
	bool named = code_take(why, name);
	const struct code_row *row = named ? code_find(name) : NULL;
	if (row) /* it comes from who found the fault; what the caller says is of a general kind */
		fix = row->fix;
	fflush(stdout);
	fputs("error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, named ? " [%s]\n" : "\n", name);
	if (why[0])
		fprintf(stderr, "cause: %s\n", why);
	if (fix && *fix)
		fprintf(stderr, "fix: %s\n", fix);
	return code;
}

void out_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void out_clean(char *dst, size_t cap, const char *src)
{
	size_t i = 0;
	for (; src[i] && i + 1 < cap; i++)
		dst[i] = (unsigned char)src[i] < 0x20 || src[i] == 0x7f ? '?' : src[i];
	if (cap)
		dst[i] = 0;
}

/* ---- tables ---- */

static void add_cell(struct table *t, unsigned index, const char *text)
{
	if (index % t->n_cols == 0) {
		char **cells = realloc(t->cells, (index + t->n_cols) * sizeof(*cells));
		if (!cells) {
			t->failed = true;
			return;
		}
		t->cells = cells;
		memset(cells + index, 0, t->n_cols * sizeof(*cells));
	}
	t->cells[index] = strdup(text);
	t->failed = t->failed || !t->cells[index];
	t->n_cells = index + 1;
}

void table_init(struct table *t, unsigned n_cols, const char *const *titles)
{
	*t = (struct table){ .n_cols = n_cols };
	for (unsigned i = 0; i < n_cols; i++)
		table_cell(t, "%s", titles[i]);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char raw[512], text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	out_clean(text, sizeof(text), raw);
	if (!t->failed)
		add_cell(t, t->n_cells, text);
}

int table_print(struct table *t, FILE *f)
{
	size_t width[TABLE_COLS] = { 0 };
	unsigned n = t->failed ? 0 : t->n_cells;
	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(t->cells[i]);
		if (len > width[i % t->n_cols])
			width[i % t->n_cols] = len;
	}
	for (unsigned i = 0; i < n; i++) {
		bool last = i % t->n_cols == t->n_cols - 1;
		fprintf(f, "%-*s%s", last ? 0 : (int)width[i % t->n_cols], t->cells[i], last ? "\n" : "  ");
	}
	for (unsigned i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	return t->failed ? -ENOMEM : 0;
}

/* ---- words ---- */

const char *words_bytes(uint64_t bytes, char out[WORDS_MAX])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned u = 0;
	uint64_t whole = bytes, rest = 0;
	while (whole >= 1024 && u + 1 < ARRAY_LEN(unit)) {
		rest = whole % 1024;
		whole /= 1024;
		u++;
	}
	unsigned tenth = (unsigned)(rest * 10 / 1024);
	if (tenth && whole < 100)
		snprintf(out, WORDS_MAX, "%llu.%u%s", (unsigned long long)whole, tenth, unit[u]);
	else
		snprintf(out, WORDS_MAX, "%llu%s", (unsigned long long)whole, unit[u]);
	return out;
}

const char *words_age(uint64_t s, char out[WORDS_MAX])
{
	unsigned long long n = s;
	if (n < 60)
		snprintf(out, WORDS_MAX, "%llus", n);
	else if (n < 3600)
		snprintf(out, WORDS_MAX, "%llum%llus", n / 60, n % 60);
	else if (n < 86400)
		snprintf(out, WORDS_MAX, "%lluh%llum", n / 3600, n / 60 % 60);
	else
		snprintf(out, WORDS_MAX, "%llud%lluh", n / 86400, n / 3600 % 24);
	return out;
}

uint64_t rfc3339_age_s(const char *t)
{
	struct tm tm = { 0 };
	const char *rest = strptime(t, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest)
		return 0;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	int64_t at = timegm(&tm);
	int h, m;
	if ((*rest == '+' || *rest == '-') && sscanf(rest + 1, "%2d:%2d", &h, &m) == 2)
		at -= (*rest == '-' ? -1 : 1) * (h * 3600 + m * 60);
	int64_t now = (int64_t)(now_real_ns() / 1000000000u);
	return now > at ? (uint64_t)(now - at) : 0;
}

/* ---- progress ---- */

void progress_init(struct progress *p, const char *label, uint64_t total, bool quiet)
{
	*p = (struct progress){ .on = !quiet && isatty(2), .label = label, .total = total, .start_ms = now_mono_ms() };
	p->drawn_ms = p->start_ms; /* a copy that ends within 200 ms draws nothing */
}

static void draw(struct progress *p, uint64_t now)
{
	char done[WORDS_MAX], total[WORDS_MAX], rate[WORDS_MAX], bar[21];
	struct winsize ws = { 0 };
	uint64_t ms = now - p->start_ms ? now - p->start_ms : 1;
	words_bytes(p->done, done);
	words_bytes((uint64_t)((double)p->done * 1000.0 / (double)ms), rate);
	p->drawn_ms = now;
	if (!p->total) {
		fprintf(stderr, "\r\033[K%.40s  %s  %s/s", p->label, done, rate);
		return;
	}
	unsigned parts = p->done >= p->total ? 20 : (unsigned)((double)p->done * 20.0 / (double)p->total);
	memset(bar, ' ', 20);
	memset(bar, '=', parts);
	bar[20] = 0;
	bool wide = ioctl(2, TIOCGWINSZ, &ws) || ws.ws_col >= 70;
	fprintf(stderr, "\r\033[K%.*s  [%s] %s/%s  %s/s", wide ? 30 : 12, p->label, bar, done, words_bytes(p->total, total), rate);
}

void progress_add(struct progress *p, uint64_t bytes)
{
	p->done += bytes;
	if (!p->on)
		return;
	uint64_t now = now_mono_ms();
	if (now - p->drawn_ms >= 200)
		draw(p, now);
}

void progress_done(struct progress *p)
{
	if (p->on && p->drawn_ms != p->start_ms)
		fputs("\r\033[K", stderr);
	p->on = false;
}
