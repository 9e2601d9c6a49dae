/*
 * The image store: images/<id>/ in the state folder, each a raw root disk (disk.img, never written again) and its meta file (lines of key=value, the
 * first "mica-image=1", the last "end=1"). An image is made in a builder VM (vm_keep.c) and stands here whole or not at all: its folder is called .<id>
 * until then (Landlock's first version, as in Linux 5.13 to 5.18, lets no file move between folders). Names ("web:1", also whole references with slashes) belong to one image each; a VM remembers the id. The
 * report came out of a guest: text without control characters, handed on, never read here. Steps that a build keeps are images, too: where files share no extents
 * they hold only what the stage changed and lie over the image it stands on, which stays while there are any; only builders start from them. Nothing here blocks but reading small files at start.
 */
#ifndef API_CORE_IMAGES_H
#define API_CORE_IMAGES_H

#include "lib/base/buf.h"

#define IMAGE_ID_BYTES 20          /* "img-" and 16 digits */
#define IMAGE_NAME_MAX 255u
#define IMAGE_NAMES_MAX 16u        /* of one image */
#define IMAGE_REPORT_MAX (48u << 10)
#define IMAGES_MAX 4096u
#define IMAGE_META_MAX (IMAGE_REPORT_MAX + IMAGE_NAMES_MAX * (IMAGE_NAME_MAX + 8) + 512)

struct core;
struct image {
	struct image *next;
	char id[IMAGE_ID_BYTES + 1];
	char *names[IMAGE_NAMES_MAX]; /* owned; may be none */
	unsigned n_names;
	uint64_t bytes, created_ns;   /* size of the disk */
	char base[IMAGE_ID_BYTES + 1]; /* "", or a step of a build: what disk.img holds lies, with disk.map, over this image's disk (lib/disk) */
	char *report;                 /* owned: JSON of rootfs/unpack, or "" */
};
struct images {
	int dir_fd;           /* owned: images/; -1 */
	struct image *first;  /* newest first */
	unsigned count;
};

/* "web" becomes "web:latest". out: IMAGE_NAME_MAX + 1. false: no name an image can have. */
bool image_name_complete(const char *name, char *out);
bool image_report_is_valid(const char *s, size_t n);
int images_open(struct core *c, struct fault *f); /* before the drop */
void images_load(struct core *c);                 /* what is left of an interrupted import goes; what is damaged is told and left alone */
struct image *images_find(const struct images *s, const char *name_or_id); /* a name as the user wrote it; NULL */
int images_disk(const struct images *s, const char *id); /* its disk, read-only; fd or -errno */
uint64_t images_stored(const struct images *s, const char *id); /* bytes that its disk takes on this host; 0: not known */

/* Of an image that is being made: folder .<id>, its empty disk.img open for writing. fd or -errno. */
int images_begin(const struct images *s, const char *id);
int images_unfinished(const struct images *s, const char *id); /* that disk again; fd or -errno */
/* The map of an image's disk, or of one that is being made, that lies over its base: flags as of open(2). fd; -ENOENT none; -errno. */
int images_map(const struct images *s, const char *id, bool finished, int flags);
/* Of an image that is being made: its disk and what lies under it become one file. Takes base_fd. In a helper child. 0 (also without a map) or -errno. */
int images_flatten(const struct images *s, const char *id, int base_fd);
/* Makes it whole, in a helper child: disk and meta are on the host's disk, then it gets its name. 0 or -errno. */
int images_finish(const struct images *s, struct image *im);
int images_abandon(const struct images *s, const char *id);    /* 0 also when it is not there */
void images_add(struct images *s, struct image *im_taken);
/* Gives the name to im alone, or (im NULL) to none; meta files are written first. 0 or -errno. */
int images_name(struct images *s, struct image *im, const char *name);
/* Out of the store; its folder gets a name with a dot (*gone), for images_erase() in a helper child. 0 or -errno. */
int images_take_out(struct images *s, struct image *im, char gone[IMAGE_ID_BYTES + 2]);
int images_erase(const struct images *s, const char *gone);
int image_id_new(char out[IMAGE_ID_BYTES + 1]);
bool image_id_is_valid(const char *s);
struct image *image_new(void); /* with an id of its own; NULL */
void image_free(struct image *im);
/* Its meta file: 0 or -EFBIG. The opposite for im->id, into an otherwise zeroed im: 0, -EINVAL (damaged), -ENOMEM; changes text. */
int image_meta_format(const struct image *im, struct buf *out);
int image_meta_parse(struct image *im, char *text);

#endif
