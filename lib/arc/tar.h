/*
 * lib/arc: archives and trees: the tar format (tar.h), trees out to tar and back beneath a
 * folder (tree.h), exclude globs (glob.h), and cp-like destination rules (dest.h). What an
 * archive says is hostile: names are clean relative paths, sizes are checked, memory is fixed.
 * Used by the guest's agent and by the command line. Stands on lib/base alone. Not shared
 * between threads. Format: POSIX.1-1988 ustar with POSIX.1-2001 "pax" records for what does not
 * fit; reading also knows the old GNU 'L' long name, 'K' long link and base-256 numbers. A reader of images (`image`) learns
 * besides of links, devices and extended attributes (pax "SCHILY.xattr.*"), and takes names as "./etc" and "/etc" for "etc".
 */
#ifndef LIB_ARC_TAR_H
#define LIB_ARC_TAR_H

#include "lib/base/buf.h"

#define TAR_BLOCK_BYTES 512u
#define TAR_NAME_MAX 4096u  /* with the NUL: what a path may have on Linux */
#define TAR_EXT_MAX 32768u  /* most bytes of one extension header (pax, long name) */
#define TAR_HEADER_MAX (8u * TAR_BLOCK_BYTES + 2u * TAR_NAME_MAX) /* most bytes tar_header() adds */

enum tar_type {
	TAR_FILE,
	TAR_DIR,
	TAR_OTHER, /* links '1' '2', devices '3' '4', fifos '6', sparse …: `kind` says which; never has data */
};
struct tar_entry {
	char name[TAR_NAME_MAX]; /* clean: relative, no "." or ".." or empty component, no trailing slash; image: "." is the root itself */
	enum tar_type type;
	char kind;               /* the type byte as it stood: '0' '5' '2' … */
	uint32_t mode;           /* low 12 bits */
	uint64_t size;           /* bytes of data; 0 unless TAR_FILE */
	int64_t mtime_s;         /* seconds since 1970 */
	uint32_t mtime_ns;       /* 0–999999999; only pax carries it */
	uint64_t uid, gid;
	char link[TAR_NAME_MAX]; /* image: where a link points, as it stood; "" otherwise */
	uint32_t dev_major, dev_minor; /* image, kinds '3' and '4' */
};

/* True for a name an entry may have: see tar_entry.name. */
bool tar_name_is_clean(const char *name);

/* ---- reading: bytes are pushed in, what they mean comes out ---- */

struct tar_reader_ops { /* each returns 0, or -errno which ends the reading and is returned by feed */
	int (*entry)(void *arg, const struct tar_entry *e, struct fault *f);
	int (*data)(void *arg, const void *p, size_t n, struct fault *f); /* TAR_FILE only, size bytes in all */
	int (*end)(void *arg, struct fault *f);                           /* the entry is complete */
	/* image only, may be NULL: an attribute of the entry that comes next; name is NUL-terminated */
	int (*xattr)(void *arg, const char *name, const void *value, size_t n, struct fault *f);
};
enum tar_state {
	TAR_HEAD, /* filling a header block → EXT, DATA, SKIP, ZERO, itself */
	TAR_EXT,  /* collecting an extension's bytes → PAD */
	TAR_DATA, /* passing a file's bytes on → PAD */
	TAR_SKIP, /* dropping an unknown extension's bytes → PAD */
	TAR_PAD,  /* dropping the rest of the last block → HEAD */
	TAR_ZERO, /* one zero block was seen → ENDED (or refused) */
	TAR_ENDED /* two zero blocks: everything after is padding → stays */
};
struct tar_reader { /* about 46 KiB; put it on the heap or make it static */
	const struct tar_reader_ops *ops; /* borrowed */
	void *arg;                        /* borrowed */
	enum tar_state state;
	uint8_t block[TAR_BLOCK_BYTES];
	uint8_t ext[TAR_EXT_MAX];
	size_t have, ext_len; /* bytes in block; bytes in ext */
	bool image;           /* set after init */
	char ext_kind;        /* 'x' 'L' 'K': what ext holds */
	uint64_t left, pad;   /* bytes of data, then of padding, still to come */
	bool ext_name, ext_link, ext_size, ext_mtime; /* an extension said this for the next entry */
	struct tar_entry e;   /* being read */
	uint64_t said_size;
	int64_t said_mtime_s;
	uint32_t said_mtime_ns;
	uint64_t entries, data_bytes; /* seen so far */
	uint64_t at;                  /* bytes of the archive taken: in op entry, where the entry's data begins */
};
void tar_reader_init(struct tar_reader *r, const struct tar_reader_ops *ops, void *arg);
/* Takes all n bytes. 0; -EPROTO broken archive; -EINVAL a name that is not clean; or what an op returned. After
 * an error nothing more may be fed. */
int tar_reader_feed(struct tar_reader *r, const void *p, size_t n, struct fault *f);
/* Passes over at most max bytes of the data of the file it stands in: they need not be fed, op data does not see them. *skipped: how many, 0 outside. As feed. */
int tar_reader_skip(struct tar_reader *r, uint64_t max, uint64_t *skipped, struct fault *f);
/* The bytes are over: 0, or -EPROTO when that was in the middle of an entry. */
int tar_reader_finish(struct tar_reader *r, struct fault *f);

/* ---- writing ---- */

/* Appends the header block of e, with a pax block before it when name, size or mtime do not fit (mtime_ns is written only
 * then). TAR_FILE, TAR_DIR and symbolic links (TAR_OTHER of kind '2') only. 0; -EINVAL name not clean; -ENOBUFS/-ENOMEM. After it: size bytes, then padding. */
int tar_header(struct buf *out, const struct tar_entry *e);
/* Zero bytes that follow size bytes of data. */
static inline size_t tar_padding(uint64_t size)
{
	return (size_t)(-size & (TAR_BLOCK_BYTES - 1));
}
int tar_finish(struct buf *out); /* the two zero blocks */

#endif
