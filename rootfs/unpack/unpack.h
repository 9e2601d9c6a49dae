/*
 * rootfs/unpack: the program that turns an image's archive into a file system, inside a builder VM that has no network. What it reads is
 * hostile and may do to it what it can: the VM holds nothing but the archive and the new disk. It is careful all the same: no entry
 * leaves the target (openat2 RESOLVE_IN_ROOT), digests are checked, sizes are bounded, what is not understood is refused. One thread.
 * main.c what is done in which order, outer.c the archive's own entries, manifest.c what docker-save (manifest.json) and the
 * OCI image layout 1.0 (index.json) say, stream.c bytes of a layer, unpacked, layer.c one layer onto the target, inside.c paths in it, adopt.c our agent,
 * target.c the new disk. What rootfs/step does in a builder uses the last five.
 *
 * unpack [--bytes N] [--adopt] ARCHIVE TARGET: archive is a file or a disk (of which N bytes count), target the folder to fill, empty. --adopt makes a guest's root disk of it:
 * grows its ext4 to the disk, puts our agent in, trims. Prints one
 * JSON object; exit 1 with "error: …" when it failed, the target is then worth nothing.
 * unpack --spread FILE DISK: a packed file onto a disk that holds zeroes.
 */
#ifndef ROOTFS_UNPACK_UNPACK_H
#define ROOTFS_UNPACK_UNPACK_H

#include "lib/arc/tar.h"
#include "lib/base/sha256.h"
#include "lib/json/json.h"

#define LAYERS_MAX 256u
#define OUTER_MAX 4096u            /* entries of the archive itself */
#define BLOB_TEXT_MAX (8u << 20)   /* bytes of a manifest or configuration */
#define XATTRS_MAX 32u
#define LARGER ": give the image a larger disk (--size)" /* after -ENOSPC */
#define DIGEST_TEXT_MAX 72         /* "sha256:" + 64 digits + NUL */

/* ---- stream.c ---- */

/* Part of a file. */
struct range {
	int fd; /* borrowed */
	uint64_t at, bytes;
};
enum packing { PACK_NONE, PACK_GZIP, PACK_ZSTD, PACK_OTHER };
enum packing range_packing(const struct range *r); /* by its first bytes */
int range_digest(const struct range *r, char out[DIGEST_TEXT_MAX], struct fault *f);
int range_text(const struct range *r, char **out, struct fault *f); /* ≤ BLOB_TEXT_MAX; caller frees */
/* Gives every byte, unpacked, to fn in pieces. fn's error ends it. digest NULL, or gets that of the unpacked bytes. */
int stream_run(const struct range *r, int (*fn)(void *arg, const void *p, size_t n, struct fault *f), void *arg, char digest[DIGEST_TEXT_MAX],
	       struct fault *f);
/* A tar's entries without their data, which is passed over where that is possible. Then tar_reader_finish(). */
int stream_names(const struct range *r, struct tar_reader *reader, struct fault *f);

/* ---- outer.c ---- */

struct outer {
	struct range whole;
	int spare_fd; /* owned: an image's archive unpacked, when it was packed as a whole; -1 */
	struct outer_entry {
		char *name, *link; /* owned; link NULL unless it is one */
		uint64_t at, bytes;
	} *entries;
	size_t n;
	bool rootfs; /* looked like a plain root file system: entries is empty, whole may be packed */
};
/* scratch_dir: where a packed archive of an image may be unpacked. 0 or -errno; outer_done in both cases. */
int outer_read(struct outer *o, const struct range *archive, int scratch_dir, struct fault *f);
void outer_done(struct outer *o);
int outer_find(const struct outer *o, const char *name, struct range *out, struct fault *f); /* -ENOENT; follows a few links inside */

/* ---- manifest.c ---- */

struct image {
	const char *format;  /* "docker-archive" "oci-archive" "rootfs" */
	char digest[DIGEST_TEXT_MAX]; /* of the configuration; of the archive, unpacked, for rootfs: known when it is applied */
	struct layer {
		struct range range;
		char diff_id[DIGEST_TEXT_MAX]; /* of the unpacked bytes, "" when nobody says */
	} layer[LAYERS_MAX];
	unsigned n_layers;
	struct json config, names; /* owned; config: as in the archive; names: docker's manifest or OCI's index */
};
/* Digests of configuration, manifests and OCI layers are checked here; docker's layers by their diff_id when unpacked. */
int image_read(struct image *im, const struct outer *o, struct fault *f);
void image_done(struct image *im);
/* Members of the report: format, digest, names, architecture, env, entrypoint, cmd, workdir, user, labels, layers. */
void image_report(const struct image *im, struct json_out *o);

/* ---- layer.c, inside.c ---- */

struct applied {
	uint64_t entries, bytes, whiteouts;
};
/* One layer onto root_fd; whiteouts first, for they speak of the layers below. digest: of its unpacked bytes, which is checked. */
int layer_apply(const struct layer *l, bool first, int root_fd, struct applied *count, char digest[DIGEST_TEXT_MAX], struct fault *f);
/* For COPY and ADD of a build: where an archive's entries go, and what they become. */
struct placing {
	const char *below;   /* clean, from the root without its '/'; "": the root itself */
	const char *as;      /* the same, whole name of the one file there is; NULL: entries have their own names */
	int64_t uid, gid;    /* -1: as the archive says */
	int mode;            /* of files and folders; -1: as the archive says */
	bool folders;        /* folders that are there get owner and mode, too */
};
/* Folders that are there, also by way of a link, take the entries in; a file does not replace a folder. Nothing is a whiteout. */
int tree_place(const struct range *archive, const struct placing *how, int root_fd, struct applied *count, struct fault *f);
/* Paths inside the target, links resolved as if it were the root. fd or -errno. */
int open_in_root(int root_fd, const char *path, int flags, mode_t mode);
int make_in_root(int root_fd, const char *path, mode_t mode); /* a folder, in one that is there. 0 or -errno */
int remove_tree(int dir_fd, const char *name);                /* 0 also when it is not there */
int remove_children(int dir_fd);                              /* takes dir_fd */

/* ---- target.c ---- */

/* The target comes as a small ext4 on a disk of the wanted size: grows it. Any other file system is left as it is. */
int target_grow(int root_fd, struct fault *f);
/* The range, unpacked, onto a disk that holds zeroes: only what is not zero is written. */
int target_spread(const struct range *from, int disk_fd, struct fault *f);
/* What was deleted again need not be stored. A hint: where it cannot be given there is nothing to say. */
void target_trim(int root_fd);

/* ---- adopt.c ---- */

/* Puts agent and init of this system in: init is the first program, and hands on to the image's own init if it has one, with the agent as a
 * unit under systemd. What was done goes into the report (agent, init, systemd, user). */
int adopt(int root_fd, struct json_out *o, struct fault *f);

#endif
