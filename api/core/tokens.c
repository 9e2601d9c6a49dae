#include "api/core/tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/wire/core.h"

#define FILE_NAME "tokens"
#define PREFIX "mica_"
#define RAW_BYTES 32u
#define HEAD "mica-tokens=1"
#define END "end=1"
#define WORDS 7 /* of a line; with quotas one more */
#define HOW "put back the file that was there, or remove it: then all named tokens are revoked"

static const char *const scope_names[] = SCOPE_NAMES;

bool token_name_is_valid(const char *s)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strspn(s, good);

	return n && n <= TOKEN_NAME_MAX && !s[n] && s[0] != '.';
}

unsigned scope_parse(const char *s, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(scope_names); i++)
		if (strlen(scope_names[i]) == n && memcmp(scope_names[i], s, n) == 0)
			return 1u << i;
	return 0;
}

const char *scope_name(unsigned scope)
{
	for (size_t i = 0; i < ARRAY_LEN(scope_names); i++)
		if (scope & 1u << i)
			return scope_names[i];
	return "?";
}

unsigned token_rights(const struct token *t)
{
	return t->scopes & SCOPE_ADMIN ? SCOPE_ALL : t->scopes ? t->scopes | SCOPE_READ : 0;
}

bool token_sees(const struct token *t, const char *group)
{
	bool sees = !t || !t->n_groups;

	for (unsigned i = 0; !sees && i < t->n_groups; i++)
		sees = strcmp(t->groups[i], group) == 0;
	return sees;
}

bool token_is_over(const struct token *t, uint64_t now_ns)
{
	return t->expires_ns && now_ns >= t->expires_ns;
}

/* ---- the list ---- */

int tokens_room(struct tokens *t)
{
	if (!t->list)
		t->list = calloc(TOKENS_MAX, sizeof(t->list[0]));
	return t->list ? 0 : -ENOMEM;
}

void tokens_done(struct tokens *t)
{
	fd_close(&t->dir_fd);
	free(t->list);
	t->list = NULL;
	t->n = 0;
}

static unsigned place_of(const struct tokens *t, const char *name)
{
	unsigned i = 0;

	while (i < t->n && strcmp(t->list[i].name, name) < 0)
		i++;
	return i;
}

struct token *tokens_find(struct tokens *t, const char *name)
{
	unsigned i = place_of(t, name);

	return i < t->n && strcmp(t->list[i].name, name) == 0 ? &t->list[i] : NULL;
}

struct token *tokens_match(struct tokens *t, const uint8_t hash[SHA256_BYTES])
{
	struct token *found = NULL;

	for (unsigned i = 0; i < t->n; i++)
		if (equal_consttime(t->list[i].hash, hash, SHA256_BYTES))
			found = &t->list[i];
	return found;
}

bool tokens_live(const struct tokens *t, uint32_t serial, uint64_t now_ns)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->list[i].serial == serial)
			return !token_is_over(&t->list[i], now_ns);
	return false;
}

/* There is room, and none of that name. */
static struct token *insert(struct tokens *t, const struct token *k)
{
	unsigned i = place_of(t, k->name);

	memmove(&t->list[i + 1], &t->list[i], (t->n - i) * sizeof(t->list[0]));
	t->n++;
	t->list[i] = *k;
	return &t->list[i];
}

static void take_out(struct tokens *t, unsigned i)
{
	memmove(&t->list[i], &t->list[i + 1], (t->n - i - 1) * sizeof(t->list[0]));
	t->n--;
}

/* Is it one that may be kept? */
static bool is_sound(const struct token *k)
{
	if (!token_name_is_valid(k->name) || !k->scopes || k->scopes & ~(unsigned)SCOPE_ALL || k->n_groups > TOKEN_GROUPS_MAX ||
	    ((k->n_groups || quota_given(&k->quota)) && k->scopes & SCOPE_ADMIN))
		return false;
	for (unsigned i = 0; i < k->n_groups; i++)
		if (!name_is_valid(k->groups[i], TOKEN_GROUP_NAME_MAX))
			return false;
	return true;
}

/* ---- the file ---- */

static void put_line(const struct token *k, struct buf *out)
{
	char hex[2 * SHA256_BYTES + 1];
	const char *comma = "";

	hex_encode(k->hash, SHA256_BYTES, hex);
	buf_printf(out, "token %s %s ", k->name, hex);
	for (unsigned bit = 1; bit <= SCOPE_ADMIN; bit <<= 1)
		if (k->scopes & bit) {
			buf_printf(out, "%s%s", comma, scope_name(bit));
			comma = ",";
		}
	buf_adds(out, k->n_groups ? " " : " -");
	for (unsigned i = 0; i < k->n_groups; i++)
		buf_printf(out, "%s%s", i ? "," : "", k->groups[i]);
	buf_printf(out, " %" PRIu64 " %" PRIu64, k->created_ns, k->expires_ns);
	comma = " ";
	for (int i = 0; i < Q_N; i++)
		if (k->quota.v[i]) {
			buf_printf(out, "%s%s=%" PRIu64, comma, quota_keys[i], k->quota.v[i]);
			comma = ",";
		}
	buf_adds(out, "\n");
}

int tokens_format(const struct tokens *t, struct buf *out)
{
	buf_adds(out, HEAD "\n");
	for (unsigned i = 0; i < t->n; i++)
		put_line(&t->list[i], out);
	buf_adds(out, END "\n");
	return out->failed ? -ENOMEM : 0;
}

/* Cuts one line at its blanks. false: it has another number of words. The last may be missing: then it is NULL. */
static bool split(char *line, char *words[WORDS + 1])
{
	words[WORDS] = NULL;
	for (unsigned i = 0; i <= WORDS; i++) {
		words[i] = line;
		line += strcspn(line, " ");
		if (!*line)
			return i >= WORDS - 1;
		*line++ = 0;
	}
	return false;
}

static const char *take_scopes(struct token *k, const char *s)
{
	for (size_t n; (n = strcspn(s, ",")); s += n + 1) {
		unsigned scope = scope_parse(s, n);

		if (!scope || k->scopes & scope)
			break;
		k->scopes |= scope;
		if (!s[n])
			return NULL;
	}
	return "its scopes are not understood";
}

static const char *take_groups(struct token *k, const char *s)
{
	if (strcmp(s, "-") == 0)
		return NULL;
	for (size_t n; (n = strcspn(s, ",")); s += n + 1) {
		if (k->n_groups == TOKEN_GROUPS_MAX || n > TOKEN_GROUP_NAME_MAX)
			break;
		memcpy(k->groups[k->n_groups++], s, n);
		if (!s[n])
			return NULL;
	}
	return "its host groups are not understood";
}

static const char *take_quotas(struct token *k, char *s)
{
	char *part;

	while (s && (part = strsep(&s, ","))) {
		size_t n = strcspn(part, "=");
		int i = quota_find(part, n);

		if (i < 0 || !part[n] || k->quota.v[i] || parse_u64(part + n + 1, UINT64_MAX, &k->quota.v[i]) || !k->quota.v[i])
			return "its quotas are not understood";
	}
	return NULL;
}

/* One line into the list. NULL, or what is wrong with it. */
static const char *take_line(struct tokens *t, char *line)
{
	struct token k = { .n_groups = 0 };
	const char *wrong;
	char *w[WORDS + 1];

	if (!split(line, w) || strcmp(w[0], "token") != 0)
		return "it is no line of this file";
	if (strlen(w[1]) > TOKEN_NAME_MAX)
		return "its name is too long";
	memcpy(k.name, w[1], strlen(w[1]) + 1);
	if (strlen(w[2]) != 2 * SHA256_BYTES || hex_decode(w[2], k.hash, SHA256_BYTES))
		return "its digest is not 64 hexadecimal digits";
	wrong = take_scopes(&k, w[3]);
	if (!wrong)
		wrong = take_groups(&k, w[4]);
	if (!wrong)
		wrong = take_quotas(&k, w[WORDS]);
	if (wrong)
		return wrong;
	if (parse_u64(w[5], UINT64_MAX, &k.created_ns) || parse_u64(w[6], UINT64_MAX, &k.expires_ns))
		return "its times are not understood";
	if (!is_sound(&k))
		return "its name, scopes, host groups or quotas break a rule";
	if (tokens_find(t, k.name) || tokens_match(t, k.hash))
		return "it stands there twice";
	if (t->n == TOKENS_MAX)
		return "there are too many tokens";
	k.serial = ++t->serials;
	insert(t, &k);
	return NULL;
}

static int parse_lines(struct tokens *t, char *at, struct fault *f)
{
	for (unsigned line = 1; line <= TOKENS_MAX + 3; line++) {
		char *nl = strchr(at, '\n');
		const char *wrong = "it is cut: the file does not end with '" END "'";

		if (nl) {
			*nl = 0;
			wrong = NULL;
		}
		if (nl && line == 1)
			wrong = strcmp(at, HEAD) == 0 ? NULL : "it is not '" HEAD "': another version wrote this file";
		else if (nl && strcmp(at, END) == 0 && !nl[1])
			return 0;
		else if (nl)
			wrong = take_line(t, at);
		if (wrong)
			return fault_set(f, -EINVAL, "auth/tokens:%u: %s; %s [E_TOKEN_BAD]", line, wrong, HOW);
		at = nl + 1;
	}
	return fault_set(f, -EINVAL, "auth/tokens: it holds more than %u tokens; %s", TOKENS_MAX, HOW);
}

int tokens_parse(struct tokens *t, const char *text, size_t n, struct fault *f)
{
	char *copy;
	int err;

	if (n > TOKENS_FILE_MAX || strnlen(text, n) != n)
		return fault_set(f, -EINVAL, "auth/tokens: it is no text of this file; %s [E_TOKEN_BAD]", HOW);
	copy = strndup(text, n);
	if (!copy)
		return fault_errno(f, -ENOMEM, "auth/tokens");
	err = parse_lines(t, copy, f);
	free(copy);
	return err;
}

int tokens_load(struct tokens *t, int dir_fd_taken, struct fault *f)
{
	char *text;
	size_t n;
	int err = tokens_room(t);

	t->dir_fd = dir_fd_taken;
	if (err)
		return fault_errno(f, err, "tokens");
	unlinkat(t->dir_fd, "." FILE_NAME ".new", 0); /* what a fall left half done */
	err = read_file_at(t->dir_fd, FILE_NAME, TOKENS_FILE_MAX, &text, &n);
	if (err == -ENOENT)
		return 0;
	if (err)
		return fault_set(f, err, "auth/tokens in the state folder: %s; %s", strerror(-err), HOW);
	err = tokens_parse(t, text, n, f);
	free(text);
	return err ? fault_wrap(f, err, "state folder") : 0;
}

static int save(const struct tokens *t)
{
	struct buf b;
	int err;

	buf_init(&b, TOKENS_FILE_MAX);
	err = tokens_format(t, &b);
	if (!err)
		err = write_file_atomic(t->dir_fd, FILE_NAME, buf_data(&b), buf_len(&b), 0600);
	buf_done(&b);
	return err;
}

/* ---- changes ---- */

/* Those that have been over for long go; and when that makes no room, the one that has been over longest. */
static void prune(struct tokens *t, uint64_t now_ns)
{
	unsigned oldest = TOKENS_MAX;

	for (unsigned i = 0; i < t->n;)
		if (token_is_over(&t->list[i], now_ns) && now_ns - t->list[i].expires_ns > TOKEN_SHOWN_NS)
			take_out(t, i);
		else
			i++;
	if (t->n < TOKENS_MAX)
		return;
	for (unsigned i = 0; i < t->n; i++)
		if (token_is_over(&t->list[i], now_ns) && (oldest == TOKENS_MAX || t->list[i].expires_ns < t->list[oldest].expires_ns))
			oldest = i;
	if (oldest < t->n)
		take_out(t, oldest);
}

static int make_text(char text[TOKEN_TEXT_BYTES + 1])
{
	uint8_t raw[RAW_BYTES];
	int err = random_fill(raw, sizeof(raw));

	if (err)
		return err;
	memcpy(text, PREFIX, strlen(PREFIX));
	base64url_encode(raw, sizeof(raw), text + strlen(PREFIX));
	explicit_bzero(raw, sizeof(raw));
	return 0;
}

int tokens_add(struct tokens *t, const struct token *want, char text[TOKEN_TEXT_BYTES + 1], const struct token **out)
{
	struct token k = *want;
	int err = is_sound(&k) ? 0 : -EINVAL;

	if (!err && t->dir_fd < 0)
		err = -EROFS;
	if (!err && tokens_find(t, k.name))
		err = -EEXIST;
	if (!err)
		prune(t, now_real_ns());
	if (!err && t->n == TOKENS_MAX)
		err = -ENOSPC;
	if (!err)
		err = make_text(text);
	if (err)
		return err;
	sha256(text, TOKEN_TEXT_BYTES, k.hash);
	k.created_ns = now_real_ns();
	k.used_ns = 0;
	k.cut = false;
	k.serial = ++t->serials;
	*out = insert(t, &k);
	err = save(t);
	if (err)
		take_out(t, place_of(t, k.name));
	return err;
}

int tokens_remove(struct tokens *t, const char *name)
{
	struct token *k = tokens_find(t, name), kept;
	int err;

	if (!k)
		return -ENOENT;
	kept = *k;
	take_out(t, place_of(t, name));
	err = save(t);
	if (err)
		insert(t, &kept);
	return err;
}
