/*
 * cli/dockerfile: what a Dockerfile and a .dockerignore say, taken apart and checked before anything runs. Pure: text in, a plan or a sentence with
 * file and line out; it opens no file, asks no daemon (the one question, what a base image is, goes through a callback). read.c lines and
 * instructions, word.c quotes and $VARIABLES, plan.c stages and what each does, config.c what an image remembers, key.c names of cached steps,
 * ignore.c .dockerignore. Source: Docker's Dockerfile reference, and its .dockerignore. The text is foreign: bounded in bytes, steps, stages, words, depth.
 */
#ifndef CLI_DOCKERFILE_DOCKERFILE_H
#define CLI_DOCKERFILE_DOCKERFILE_H

#include "lib/base/buf.h"

#define DF_BYTES_MAX (1u << 20)  /* of a Dockerfile or .dockerignore */
#define DF_STEPS_MAX 2000u
#define DF_STAGES_MAX 64u
#define DF_LIST_MAX 20000u       /* words of an instruction, patterns, variables */
#define DF_VALUE_MAX (256u << 10) /* one expanded value, one instruction */
#define DF_KEY_MAX 65            /* 64 digits and NUL */

/* Owned strings; zero-initialised is empty. */
struct df_list {
	char **s;
	unsigned n, cap;
};
int df_list_add(struct df_list *l, const char *s, size_t n);
static inline int df_list_adds(struct df_list *l, const char *s) { return df_list_add(l, s, __builtin_strlen(s)); }
int df_list_copy(struct df_list *to, const struct df_list *from); /* onto an empty one */
void df_list_done(struct df_list *l);
/* "NAME=VALUE" strings: the value, or NULL; setting replaces. */
const char *df_list_get(const struct df_list *l, const char *name, size_t n);
int df_list_set(struct df_list *l, const char *name, const char *value);

/* ---- read.c: instructions ---- */

enum df_kind { DF_FROM, DF_RUN, DF_COPY, DF_ADD, DF_ENV, DF_WORKDIR, DF_USER, DF_ARG, DF_LABEL, DF_EXPOSE, DF_VOLUME, DF_STOPSIGNAL, DF_HEALTHCHECK,
	       DF_ENTRYPOINT, DF_CMD, DF_SHELL };
struct df_step {
	enum df_kind kind;
	unsigned line;         /* from 1: where it begins */
	char *text;            /* owned: as written, on one line */
	char *rest;            /* owned: behind keyword and flags; of RUN with a heredoc, all its lines */
	struct df_list flags;  /* "--chown=a:b" */
	struct df_list words;  /* json: the array's strings */
	bool json;
};
struct df_file {
	char name[256];        /* for sentences */
	char escape;           /* '\\' or '`' */
	struct df_step *step;  /* owned */
	unsigned n;
};
/* Refuses what this builder does not do, with what to write instead. 0 or -errno with f; df_file_done in both cases. */
int df_read(struct df_file *d, const char *name, const char *text, size_t n, struct fault *f);
void df_file_done(struct df_file *d);
/* "Dockerfile:3: …"; returns -EINVAL. */
int df_refuse(const struct df_file *d, unsigned line, struct fault *f, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The value of a flag, or NULL: df_flag(s, "chown"). "" for a flag without one. */
const char *df_flag(const struct df_step *s, const char *name);

/* ---- word.c ---- */

/* Splits at blanks outside quotes; quotes stay. 0, -EINVAL a quote is not closed, -ENOMEM, -E2BIG. */
int df_split(const char *text, char escape, struct df_list *out);
struct df_scope {
	const struct df_list *first, *second; /* "NAME=VALUE"; the first has the last word */
	char escape;
};
/* $NAME ${NAME} ${NAME:-w} ${NAME:+w} ${NAME:?w} (also without ':'), quotes and escapes go. 0 or -errno with f. out is appended to. */
int df_expand(const char *word, const struct df_scope *scope, struct buf *out, struct fault *f);
bool df_name_is_valid(const char *s, size_t n); /* of a variable */
/* path (from the root, or else from base) without ".", ".." and "//"; ".." stops at the root. "/" stays. 0 or -ENAMETOOLONG. */
int df_path(const char *base, const char *path, char *out, size_t cap);

/* ---- config.c ---- */

/* What an image remembers, and its report says. */
struct df_config {
	struct df_list env, labels; /* NAME=VALUE */
	struct df_list entrypoint, cmd, exposed, volumes, shell; /* shell empty: /bin/sh -c */
	char *workdir, *user, *stop_signal, *healthcheck; /* owned; NULL: not said */
};
int df_config_copy(struct df_config *to, const struct df_config *from); /* onto an empty one */
void df_config_done(struct df_config *c);

/* ---- plan.c ---- */

struct df_op { /* what changes files: everything else is in a stage's config */
	enum df_kind kind;     /* DF_RUN DF_COPY DF_ADD DF_WORKDIR */
	unsigned line;
	const char *text;      /* borrowed from the file */
	struct df_list argv, env; /* RUN: all of its environment */
	struct df_list unkeyed;   /* RUN: more environment that names no cached step: proxies */
	char *user, *workdir;  /* owned: RUN */
	bool no_network;       /* RUN --network=none */
	struct df_list sources; /* COPY ADD: clean, from the context's top ("." is all of it), or of another stage or image from its root */
	char *dest;            /* owned: COPY ADD WORKDIR, from the root, clean; COPY ADD: with a '/' at its end when a folder is meant */
	char *chown;           /* owned: NULL: root, or with a source stage or image its owners */
	int chmod;             /* -1: as they are */
	int from_stage;        /* COPY --from; -1 */
	char *from_image;      /* owned: the same; NULL */
};
enum df_base { DF_SCRATCH, DF_IMAGE, DF_STAGE };
struct df_stage {
	char *name;            /* owned; "" */
	unsigned line;
	enum df_base base;
	char *image;           /* owned: its name as written */
	char base_id[64];      /* what the callback said it is */
	int base_stage;
	bool needed;
	struct df_op *op;      /* owned */
	unsigned n;
	struct df_config config; /* after its last instruction */
};
struct df_plan {
	struct df_stage *stage; /* owned */
	unsigned n, target;
	struct df_list unused;  /* build arguments that no ARG declares */
};
struct df_ask {
	const struct df_list *args; /* --build-arg NAME=VALUE */
	const char *target;         /* stage, by name or number; NULL: the last */
	/* A base image: what it remembers onto an empty config, what it is into id (64 bytes). 0, -ENOENT, or -errno with f. */
	int (*image)(void *arg, const char *name, struct df_config *into, char id[64], struct fault *f);
	void *arg;
};
/* d stays the caller's and must live on. 0 or -errno with f; df_plan_done in both cases. */
int df_plan(struct df_plan *p, const struct df_file *d, const struct df_ask *ask, struct fault *f);
void df_plan_done(struct df_plan *p);

/* ---- key.c: the same key, the same files ---- */

/* A stage's beginning: what it is made from (an id, "scratch", another stage's key) and what else decides (size, network). */
void df_key_begin(const char *what, const char *how, char key[DF_KEY_MAX]);
/* After op. content: digest of what is copied, or the key of the stage or id of the image it is copied from; "" for RUN and WORKDIR. */
void df_key_next(const struct df_op *op, const char *content, char key[DF_KEY_MAX]);
/* Files and what the image remembers: two images of the same such key are the same. */
void df_key_image(const struct df_config *c, const char *key, char out[DF_KEY_MAX]);

/* ---- ignore.c ---- */

struct df_ignore {
	struct df_list patterns; /* clean, '!' before those that bring files back */
	bool brings_back;
};
int df_ignore_read(struct df_ignore *g, const char *text, size_t n, struct fault *f); /* 0 or -errno with f */
/* path: clean, from the context's top. The last pattern that matches it or a folder above it decides. */
bool df_ignored(const struct df_ignore *g, const char *path);
void df_ignore_done(struct df_ignore *g);

#endif
