#include "cli/mask.h"
#include "lib/base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILE_BYTES_MAX (1u << 20)

static void add_word(struct mask *m, const char *p, size_t n)
{
	if (n < MASK_LEAST || m->full)
		return;
	if (m->n == MASK_WORDS_MAX) {
		m->full = true;
		return;
	}
	if (!(m->n & (m->n - 1))) { /* room doubles at powers of two */
		char **more = realloc(m->words, (m->n ? 2 * m->n : 1) * sizeof(*more));
		if (!more) {
			m->full = true;
			return;
		}
		m->words = more;
	}
	m->words[m->n] = strndup(p, n);
	m->full = !m->words[m->n];
	m->n += !m->full;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\0';
}

void mask_add(struct mask *m, const char *text, size_t n)
{
	for (size_t at = 0, end; at < n; at = end + 1) {
		const char *nl = memchr(text + at, '\n', n - at);
		end = nl ? (size_t)(nl - text) : n;
		size_t from = at, to = end;
		while (from < to && is_blank(text[from]))
			from++;
		while (to > from && is_blank(text[to - 1]))
			to--;
		add_word(m, text + from, strnlen(text + from, to - from));
	}
}

bool mask_add_file(struct mask *m, int dir_fd, const char *name)
{
	char *text;
	size_t n;
	int err = read_file_at(dir_fd, name, FILE_BYTES_MAX, &text, &n);
	if (err)
		return err == -ENOENT || err == -ENOTDIR;
	mask_add(m, text, n);
	explicit_bzero(text, n);
	free(text);
	return true;
}

void mask_done(struct mask *m)
{
	for (size_t i = 0; i < m->n; i++) {
		explicit_bzero(m->words[i], strlen(m->words[i]));
		free(m->words[i]);
	}
	free(m->words);
	*m = (struct mask){ 0 };
}

/* ---- what looks like one ---- */

static bool begins(const char *p, size_t n, const char *word)
{
	return n >= strlen(word) && !strncasecmp(p, word, strlen(word));
}

static size_t value_len(const char *p, size_t n)
{
	size_t i = 0;
	char quote = n && (p[0] == '"' || p[0] == '\'') ? p[0] : 0;
	for (i = quote != 0; i < n && p[i] != '\n' && (quote ? p[i] != quote : !strchr(" \t,;\"'", p[i])); i++)
		;
	return i;
}

/* Bytes at p to keep (a key, "password=") in *keep, then bytes to take; 0: nothing here looks like a secret. */
static size_t looks(const char *p, size_t n, size_t *keep)
{
	static const char *const keys[] = { "password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "private_key", "credential",
		"authorization" };
	static const char *const heads[] = { "bearer ", "ssh-rsa ", "ssh-ed25519 ", "ssh-dss ", "ecdsa-sha2-nistp256 ", "ecdsa-sha2-nistp384 ",
		"ecdsa-sha2-nistp521 " };
	*keep = 0;
	if (begins(p, n, "-----BEGIN ")) {
		const char *end = memmem(p + 11, n - 11, "-----END ", 9);
		return end ? (size_t)(end - p) + 9 + strcspn(end + 9, "\n") : n;
	}
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		if (begins(p, n, heads[i])) {
			*keep = strlen(heads[i]);
			return value_len(p + *keep, n - *keep);
		}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		size_t at = strlen(keys[i]);
		if (!begins(p, n, keys[i]))
			continue;
		while (at < n && (p[at] == '"' || p[at] == '\'' || p[at] == ' '))
			at++;
		if (at >= n || (p[at] != '=' && p[at] != ':'))
			continue;
		at++;
		while (at < n && p[at] == ' ')
			at++;
		*keep = at;
		if (begins(p + at, n - at, "bearer ") || begins(p + at, n - at, "basic "))
			*keep += 6 + (p[at] == 'b' || p[at] == 'B' ? begins(p + at, n - at, "bearer ") : 0);
		return *keep < n ? value_len(p + *keep, n - *keep) : 0;
	}
	return 0;
}

static size_t known(const struct mask *m, const char *p, size_t n)
{
	size_t longest = 0;
	for (size_t i = 0; i < m->n; i++) {
		size_t len = strlen(m->words[i]);
		if (len > longest && len <= n && *p == *m->words[i] && !memcmp(p, m->words[i], len))
			longest = len;
	}
	return longest;
}

int mask_put(const struct mask *m, struct buf *out, const char *text, size_t n)
{
	int err = m->full ? -ENOMEM : 0;
	for (size_t at = 0, from = 0; !err && at <= n;) {
		size_t keep = 0, take = at < n ? known(m, text + at, n - at) : 0;
		if (!take && at < n)
			take = looks(text + at, n - at, &keep);
		if (!take && at < n) {
			at++;
			continue;
		}
		err = buf_add(out, text + from, at + keep - from);
		if (!err && take)
			err = buf_adds(out, MASKED);
		at += keep + take + (at == n);
		from = at;
	}
	return err;
}
