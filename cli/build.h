/*
 * cli/build: `mica image build`: a Dockerfile becomes an image. cli/dockerfile says what is to be done; build_context.c finds, digests and packs the files
 * of the folder, build_guest.c has a builder VM do the steps (rootfs/step), build_cache.c knows which steps are in the store already, build_say.c tells a
 * person or a program how it goes, cmd_image_build.c is the order of it all. A cached step is an image named build-cache:<key>. Room card: cli.h.
 */
#ifndef CLI_BUILD_H
#define CLI_BUILD_H

#include "cli/dockerfile/dockerfile.h"
#include "cli/image.h"
#include "lib/base/sha256.h"

#define BUILD_NAMES_MAX 8u      /* given to an image: the store's 16, less those of cached steps */
#define BUILD_TAIL_BYTES 4096u /* of a failed command's output */

/* A file, folder or link that is copied. */
struct pick {
	char *from;       /* owned: path from the folder's top */
	char *to;         /* owned: its name below the destination */
	char *link;       /* owned: a link's target; NULL */
	uint32_t mode;    /* S_IF… and the low 12 bits */
	uint64_t bytes;
	int64_t mtime_s;
	uint8_t sum[SHA256_BYTES]; /* of a file's content */
	bool archive;     /* ADD unpacks it */
};
struct picks {
	struct pick *p;   /* owned */
	size_t n, cap;
	bool single;      /* one file, whose name may become the destination */
	char digest[DF_KEY_MAX];
};

struct build {
	struct remote r;       /* cancel_fd: Ctrl-C */
	const struct args *a;
	struct df_file file;
	struct df_plan plan;
	struct df_ignore ignore;
	int context_fd;        /* owned: the folder */
	uint64_t disk_bytes;   /* of the image to be */
	const char *network;   /* host group; NULL: none */
	/* for each stage, and in it for each step: what it copies, its key after it */
	struct build_stage {
		struct picks *picks;          /* owned: [n] */
		char (*key)[DF_KEY_MAX];      /* owned: [n + 1]; [0] the beginning's */
		char from[64];                /* once it is made: the image that holds its files, "min", or "" for nothing */
		bool made;
	} stage[DF_STAGES_MAX];
	char image_key[DF_KEY_MAX];
	struct answer images;  /* the store's list */
	bool have_images;
	/* the builder that runs; "" */
	char vm[VM_NAME_MAX], group[VM_NAME_MAX];
	int remote_code;       /* the daemon could not be asked, which was said: what to return */
	bool told;             /* an error event was written */
	/* progress */
	enum { SAY_TEXT, SAY_JSONL, SAY_NOTHING } say;
	unsigned step, steps;
	uint64_t step_ms;      /* when it began */
	char tail[BUILD_TAIL_BYTES];
	size_t n_tail;
	bool line_begun[2];    /* output: stdout, stderr */
	struct buf line[2];    /* the same: what is not a whole line yet */
};

/* ---- build_context.c ---- */

/* What the step copies, with digests; refusals name file and line. 0 or -errno with f. */
int picks_find(struct picks *p, const struct build *b, const struct df_op *op, struct fault *f);
/* As a tar (without what ADD unpacks) to a descriptor; -EAGAIN with f when a file is not what it was. */
int picks_write(const struct picks *p, const struct build *b, int fd, struct fault *f);
int pick_open(const struct build *b, const char *path); /* a file in the folder, never outside; fd or -errno */
void picks_done(struct picks *p);

/* ---- build_cache.c ---- */

#define CACHE_PREFIX "build-cache:"
void cache_name(const char *key, char out[64]);
int cache_load(struct build *b);                       /* the store's list; 0 or an exit code */
const char *cache_find(const struct build *b, const char *key); /* an image's id, or NULL */
/* What an image of the store remembers, for df_plan(). */
int cache_base(void *arg_build, const char *name, struct df_config *into, char id[64], struct fault *f);
/* The image's report. b->failed when it is too long. */
void cache_report(struct buf *out, const struct df_config *c, const char *key, bool systemd);

/* ---- build_guest.c: exit codes, after saying why ---- */

int guest_start(struct build *b, const char *from); /* "min", a name or id, or "" */
void guest_drop(struct build *b);                   /* without a word; also when there is none */
int guest_run(struct build *b, const struct df_op *op, int *status);
int guest_folder(struct build *b, const struct df_op *op);
int guest_copy(struct build *b, const struct df_op *op, const struct picks *p);
int guest_place(struct build *b, const struct df_op *op, int tar_fd, bool single); /* an archive of guest_pack() */
/* A path of the builder's new disk as an archive: *fd (a file without name), *single. */
int guest_pack(struct build *b, const char *path, int *fd, bool *single);
int guest_checkpoint(struct build *b, const char *name);
/* The end: as a guest's root disk if it is the result, then the image. names ends with NULL; *an is the caller's. */
int guest_keep(struct build *b, const char *const *names, const struct df_config *c, const char *key, struct answer *an);
int build_temp(void);                               /* an empty file without name in $TMPDIR; fd or -errno */

/* ---- build_run.c ---- */

int build_run(struct build *b); /* everything is planned and keyed, the store's list is there; exit code, after saying why */

/* ---- build_say.c ---- */

void say_step(struct build *b, const struct df_stage *s, unsigned line, const char *text, bool cached);
void say_done(struct build *b);
void say_output(struct build *b, bool is_stderr, const void *p, size_t n);
/* The step's command failed with that exit code; returns EXIT_FAIL. */
int say_failed(struct build *b, const struct df_op *op, int status);
void say_image(struct build *b, const struct json_val *image, const char *key, bool cached);
/* The end of a build that failed for a reason told on stderr alone: with jsonl an event says so. Returns code. */
int say_ended(struct build *b, int code);
/* A refusal: one line of JSON as well where that is asked for; returns EXIT_FAIL. */
int say_refused(struct build *b, const struct fault *f, const char *fix);

#endif
