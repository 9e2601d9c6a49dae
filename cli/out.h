/*
 * cli/out: what a person sees: three-line errors, aligned tables, sizes and ages in words, a progress bar. Room card: cli.h.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stdio.h>
#include "lib/base/buf.h"

/* "error: …", "cause: …", "fix: …" on stderr (an empty or NULL cause or fix leaves its line out). A code in the cause (codes.h) goes
 * to the end of the first line and decides the fix. Returns code. */
int out_error(int code, const char *cause, const char *fix, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void out_note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* one line on stderr */
/* Bytes from a daemon or guest, control characters replaced by '?', for one line of text. */
void out_clean(char *dst, size_t cap, const char *src);

/* Left-aligned columns, two blanks between. Cells are copied. */
#define TABLE_COLS 16
struct table {
	unsigned n_cols, n_cells;
	char **cells;   /* owned, whole rows */
	bool failed;
};
void table_init(struct table *t, unsigned n_cols, const char *const *titles);
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* row after row */
/* Prints to f and frees. 0 or -ENOMEM. */
int table_print(struct table *t, FILE *f);

#define WORDS_MAX 32
/* "512B" "1.5KiB" "4GiB" */
const char *words_bytes(uint64_t bytes, char out[WORDS_MAX]);
/* "12s" "3m10s" "2h5m" "4d3h" */
const char *words_age(uint64_t seconds, char out[WORDS_MAX]);
/* Seconds since an RFC 3339 time; 0 when it does not parse or lies ahead. */
uint64_t rfc3339_age_s(const char *t);

/* A bar on stderr, only when that is a terminal. total 0: unknown. */
struct progress {
	bool on;
	const char *label; /* borrowed */
	uint64_t total, done, start_ms, drawn_ms;
};
void progress_init(struct progress *p, const char *label, uint64_t total_bytes, bool quiet);
void progress_add(struct progress *p, uint64_t bytes);
void progress_done(struct progress *p); /* clears the line */

#endif
