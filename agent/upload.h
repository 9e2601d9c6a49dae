/*
 * `slicer-agent upload check|finalise|abort`: a copy in many requests. The host has put chunks and a manifest with ordinary copies into
 * <parent of the destination>/.slicer-upload-<32 hex>/; finalise checks every chunk, then makes one file or unpacks one tar of them by the
 * same rules as other copies, and removes the folder. Runs as root, becomes the target user before it touches a file.
 * Manifest: the contract's "chunked upload", versions 1 and 2. Stands on lib/json besides the agent's rooms.
 */
#ifndef AGENT_UPLOAD_H
#define AGENT_UPLOAD_H

#include "agent/agent.h"
#include "lib/base/sha256.h"
#include "lib/json/json.h"

#define MANIFEST_BYTES_MAX (16u << 20)
#define CHUNK_BYTES_MAX (64u << 20)
#define CHUNKS_MAX 100000u

struct manifest {
	struct json json;           /* owned: the texts below point into it */
	const char *destination, *source_name, *source_type;
	bool tar, v1, contents;
	bool has_mode, has_sum;
	uint64_t mode, size, unpacked_size;
	uint8_t sum[SHA256_BYTES];  /* of all bytes; version 1 */
	const struct json_val *chunks;
};
/* 0 or -errno with a sentence; manifest_done() either way. Afterwards every chunk has a valid size and sum, and they add up to size. */
int manifest_read(struct manifest *m, const void *text, size_t n, struct fault *f);
void manifest_done(struct manifest *m);
struct chunk {
	unsigned index;
	uint64_t size;
	const char *hex;            /* 64 digits, borrowed */
	uint8_t sum[SHA256_BYTES];
};
/* *at: NULL at the start. False after the last. */
bool manifest_next(const struct manifest *m, const struct json_val **at, struct chunk *c);

/* argv behind "upload". Returns the exit code. */
int upload_main(int argc, char **argv);

#endif
