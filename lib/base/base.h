/*
 * lib/base: what every program needs and nothing more: faults, numbers, buffers,
 * files and sockets, time. No room here logs, exits, or keeps global state.
 * May be included by every room; includes no other room. Any thread.
 */
#ifndef LIB_BASE_BASE_H
#define LIB_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MICA_VERSION "0.1.0"

/* ---- fault: the sentence a human reads, grown while an error unwinds ---- */

struct fault {
	char text[1024]; /* NUL-terminated, "" when nothing was said */
};

/* Sets the sentence. Returns err unchanged, so: return fault_set(f, -EINVAL, "..."). f may be NULL. */
int fault_set(struct fault *f, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before what is there. Returns err. f may be NULL. */
int fault_wrap(struct fault *f, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "what: strerror(-err)". Returns err. */
int fault_errno(struct fault *f, int err, const char *what);

/* ---- numbers ---- */

/* true when a+b (a*b) does not fit; *out is then unspecified. */
static inline bool add_overflows_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return __builtin_add_overflow(a, b, out);
}
static inline bool mul_overflows_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return __builtin_mul_overflow(a, b, out);
}
/* Decimal digits only, the whole string, no sign or blanks. 0, -EINVAL, -ERANGE. */
int parse_u64(const char *s, uint64_t max, uint64_t *out);
/* "25G", "512M", "64K", "700": powers of 1024. 0, -EINVAL, -ERANGE. */
int parse_size(const char *s, uint64_t *out_bytes);
/* Go durations: "60s", "2m0s", "1m30s", "500ms", "1.5h", "0". Result in ms. 0, -EINVAL, -ERANGE. */
int parse_duration_ms(const char *s, uint64_t *out_ms);
/* Levenshtein distance, inputs cut at 63 bytes. For "did you mean". */
unsigned edit_distance(const char *a, const char *b);

/* ---- files and sockets ---- */

/* Closes *fd when >= 0 and sets it to -1. errno is kept. */
void fd_close(int *fd);
#define AUTO_FD __attribute__((cleanup(fd_close))) int
/* Whole buffer, over short reads and EINTR. read_full: bytes read (short only at end of file) or -errno. */
ssize_t read_full(int fd, void *dst, size_t len);
ssize_t pread_full(int fd, void *dst, size_t len, uint64_t off);
int write_full(int fd, const void *src, size_t len);
int pwrite_full(int fd, const void *src, size_t len, uint64_t off);
int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);
/* Anonymous file with seals allowed and CLOEXEC. fd or -errno. */
int memfd_new(const char *name);
int pidfd_of(pid_t pid);                         /* pidfd_open(2); fd or -errno */
int pidfd_signal(int pidfd, int sig);            /* 0 or -errno */
/* Closes every descriptor >= first. */
int close_from(int first);
/* openat2(2) RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|RESOLVE_NO_MAGICLINKS: path cannot leave dirfd. fd or -errno. */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* Makes the new file complete before it is seen: temp + fsync + rename + fsync of the folder. */
int write_file_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode);
/* Whole small file (<= max bytes) into malloc'ed, NUL-terminated memory; caller frees. -EFBIG beyond max. */
int read_file_at(int dirfd, const char *name, size_t max, char **out, size_t *out_len);

/* ---- time ---- */

uint64_t now_mono_ms(void);
uint64_t now_mono_ns(void);
uint64_t now_real_ns(void); /* since 1970 UTC */
#define RFC3339_MAX 40
/* "2026-09-01T10:00:00.123456789Z" from ns since 1970. */
void rfc3339_format(uint64_t real_ns, char out[RFC3339_MAX]);
/* The same back; also with fewer digits behind the point or none, and with an offset ("+02:00"). From 1970 to 2500. 0 or -EINVAL. */
int rfc3339_parse(const char *s, uint64_t *real_ns);

/* ---- names ---- */

/* A VM or group name: [a-z0-9] then [a-z0-9-]*, at most max bytes, not ending in '-'. */
bool name_is_valid(const char *s, size_t max);
/* UTF-8 without overlong forms, surrogates, or values past U+10FFFF. */
bool utf8_is_valid(const void *p, size_t len);

/* ---- encodings ---- */

/* RFC 4648 §4 with padding. out needs BASE64_LEN(n)+1 bytes; NUL-terminated. Returns the length. */
#define BASE64_LEN(n) ((((size_t)(n) + 2) / 3) * 4)
size_t base64_encode(const void *src, size_t n, char *out);
size_t base64url_encode(const void *src, size_t n, char *out); /* §5, no padding */
/* Strict. Returns decoded length or -EINVAL. out needs n/4*3 bytes. */
ssize_t base64_decode(const char *src, size_t n, void *out);
void hex_encode(const void *src, size_t n, char *out); /* 2n+1 bytes */
int hex_decode(const char *src, void *out, size_t n);  /* exactly 2n digits; 0 or -EINVAL */
/* Compares without an early end. */
bool equal_consttime(const void *a, const void *b, size_t n);
/* getrandom(2), whole buffer. 0 or -errno. */
int random_fill(void *p, size_t n);

#endif
