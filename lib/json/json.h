/*
 * lib/json: a strict, bounded reader and a small writer (RFC 8259). The reader turns one text into a
 * flat array of values in document order: no recursion, two allocations, both bounded by the
 * input and by max_values. The writer puts text straight into a struct buf, commas included.
 * Used by front and cli. Knows nothing of our API. Stands on lib/base alone. Not shared between threads.
 */
#ifndef LIB_JSON_JSON_H
#define LIB_JSON_JSON_H

#include "lib/base/buf.h"

#define JSON_DEPTH_MAX 64u /* arrays and objects inside each other, reading and writing */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_val {
	uint8_t kind;    /* enum json_kind */
	uint32_t span;   /* values in this subtree, itself included: v + span is the next sibling */
	uint32_t count;  /* children of an array or object */
	uint32_t key_len; /* bytes of key */
	const char *key; /* member name (decoded, NUL-terminated), NULL outside objects */
	union {
		bool b;
		int64_t i; /* JSON_INT: a number without fraction or exponent that fits */
		double d;  /* JSON_REAL: every other number */
		struct {
			const char *s; /* decoded, NUL-terminated (may hold NUL bytes from \u0000) */
			uint32_t len;
		};
	};
};
struct json {
	struct json_val *v; /* owned; v[0] is the root */
	uint32_t n, cap;
	char *text;         /* owned: decoded strings */
	size_t text_cap;
};

/* Reads exactly one value and nothing after it but blanks. Refused: depth beyond JSON_DEPTH_MAX, more than
 * max_values values, n > 64 MiB, bytes that are not UTF-8, lone surrogate escapes, control bytes in strings,
 * anything RFC 8259 does not allow. Of members with the same name the last one counts (as in Go and JS).
 * 0; -EINVAL, -E2BIG, -ENOMEM with the place in f. On error there is nothing to free. */
int json_parse(struct json *j, const void *p, size_t n, unsigned max_values, struct fault *f);
/* The same for many texts one after another: j is zeroed or holds an earlier text, whose memory is used again. */
int json_parse_next(struct json *j, const void *p, size_t n, unsigned max_values, struct fault *f);
void json_done(struct json *j); /* frees; safe on a zeroed struct */
static inline const struct json_val *json_root(const struct json *j) { return j->v; }

/* Walking: for (c = json_first(v); c; c = json_next(v, c)). v may be NULL. Not a container: no children. */
const struct json_val *json_first(const struct json_val *v);
const struct json_val *json_next(const struct json_val *parent, const struct json_val *child);
/* Member of an object; NULL when v is NULL, no object, or has no such member. */
const struct json_val *json_get(const struct json_val *v, const char *key);

/* Typed looks: 0 found; -ENOENT absent or null; -EINVAL of another kind (or out of range, or holding a NUL byte). *out is
 * untouched unless 0, so preset the default. */
int json_get_str(const struct json_val *v, const char *key, const char **out);
int json_get_i64(const struct json_val *v, const char *key, int64_t *out);  /* 2.0 and 2e3 count as integers */
int json_get_real(const struct json_val *v, const char *key, double *out);  /* integers too */
int json_get_bool(const struct json_val *v, const char *key, bool *out);
/* The value itself as a C string: NULL when v is NULL, no string, or holds a NUL byte. */
const char *json_str(const struct json_val *v);

/* ---- writing ----
 * struct json_out o; json_out_init(&o, &buf); json_obj(&o, NULL); json_put_str(&o, "name", s); json_arr(&o, "tags"); … json_end(&o); json_end(&o);
 * key is NULL inside arrays and at the top. Check buf->failed once at the end. */
struct json_out {
	struct buf *b;   /* borrowed */
	uint64_t some;   /* bit d: depth d already has an element */
	uint64_t object; /* bit d: depth d is an object */
	unsigned depth;
};
void json_out_init(struct json_out *o, struct buf *b);
void json_obj(struct json_out *o, const char *key);
void json_arr(struct json_out *o, const char *key);
void json_end(struct json_out *o); /* closes the innermost */
void json_put_str(struct json_out *o, const char *key, const char *s); /* NULL writes null */
void json_put_strn(struct json_out *o, const char *key, const void *s, size_t n); /* invalid UTF-8 becomes U+FFFD */
void json_put_i64(struct json_out *o, const char *key, int64_t v);
void json_put_u64(struct json_out *o, const char *key, uint64_t v);
void json_put_real(struct json_out *o, const char *key, double v); /* nan and inf become null */
void json_put_bool(struct json_out *o, const char *key, bool v);
void json_put_null(struct json_out *o, const char *key);
/* A string member whose bytes are written as standard base64. */
void json_put_base64(struct json_out *o, const char *key, const void *p, size_t n);

#endif
