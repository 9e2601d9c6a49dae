/*
 * Where bytes from the host end in the guest's file system, and how: the destination rules of lib/arc/dest.h asked about what is there, the
 * free space checked first, files complete before they are seen. Runs in a child or program that is the target
 * user already. Shared by copies (copy_in.c) and chunked uploads (upload.c).
 */
#ifndef AGENT_PLACE_H
#define AGENT_PLACE_H

#include "agent/agent.h"
#include "lib/arc/dest.h"
#include "lib/arc/tree.h"

struct place_ask {
	const char *path;          /* as asked, "~" not resolved */
	bool is_dir;               /* the bytes are a tar */
	bool v1, contents;         /* see struct dest_ask */
	const char *source_name, *source_type; /* "" when not said */
	bool has_mode;
	uint64_t mode;
};
struct place {
	char dest[DEST_PATH_MAX];  /* the file to make or the folder to fill */
	bool is_dir, sized;        /* sized: `size` bytes are promised (tar: unpacked). place_find() clears it */
	uint64_t size;
	mode_t mode;               /* of a file: as asked, or as it was, or 0644 */
};
/* 0 or -errno with a sentence. */
int place_find(struct place *p, const struct place_ask *ask, const struct who *w, struct fault *f);

struct place_file {
	struct tree_file file;
	char leaf[256];
	uint64_t bytes;            /* written so far */
};
/* Parents are made; a promise that does not fit is -ENOSPC. After an error nothing is open. The folder stays open for the process's life. */
int place_file_open(struct place_file *pf, const struct place *p, struct fault *f);
int place_file_put(void *pf, const void *data, size_t n, struct fault *f);
int place_file_commit(struct place_file *pf, const struct place *p, struct fault *f); /* -EPROTO: not as many bytes as promised */
void place_file_drop(struct place_file *pf);
/* The folder to fill, made when missing. fd or -errno with a sentence. */
int place_folder_open(const struct place *p, struct fault *f);

#endif
