/*
 * What is known of a VM on disk: file `record` in its folder, written whole before anything about it is acknowledged.
 * Lines of key=value, the first "mica-vm=1", the last "end=1" (so that a cut file is seen); in values \n, \\ and \xHH.
 * The reader is strict: an unknown key, a doubled one, or a value out of range refuses the file, which is then left alone.
 */
#ifndef API_CORE_RECORD_H
#define API_CORE_RECORD_H

#include "lib/base/buf.h"

#define VM_NAME_MAX 63u
#define RECORD_MAX (128u << 10) /* bytes of the file */
#define TAGS_MAX 64u
#define TAG_MAX 256u           /* bytes of one tag */
#define NET_RATE_MAX 1000000000000ull /* bytes or packets a second */
#define FAULT_MAX 6000u        /* bytes of the last words that are kept */

#define RECORD_PARENT_BYTES 88u /* of a commit's id (commits.h), with NUL */
/* What a fork's first boot has still to change in it (vm_fork.c); bits. FIX_PENDING: its client may not know it yet, so it goes when that fails. */
enum { FIX_HOSTNAME = 1, FIX_MACHINE_ID = 2, FIX_SSH_KEYS = 4, FIX_PENDING = 8 };

struct record {
	char name[VM_NAME_MAX + 1], group[VM_NAME_MAX + 1];
	unsigned slot;           /* 0–65535 */
	char ip[20];             /* "192.168.137.2/24"; "" without a network card */
	uint8_t mac[6];
	uint64_t ram_bytes, disk_bytes, created_ns;
	unsigned vcpus;
	bool persistent;         /* keeps its disk after it ended */
	bool protected_;         /* one of the group's count: not deleted by API */
	uint64_t net_bytes_s, net_packets_s; /* limits of its network card, each way; 0: none */
	bool userdata;           /* file `userdata` stands in the folder */
	char token[65];          /* name of the token that made it, for its quotas; "": another way */
	char image[256];         /* what the disk was made from, for people */
	char base[24];           /* id of the stored image that it was made from, or lies over when disk.map is there; "": none */
	char parent[RECORD_PARENT_BYTES]; /* a fork: id of its commit, which its disk lies over when disk.map is there (never over `base` then); "" */
	unsigned fixups;         /* a fork: bits FIX_… */
	char machine_id[33];     /* a fork's own: 32 digits; "": its disk's */
	char guest_name[VM_NAME_MAX + 1]; /* what the guest calls itself, when not `name` */
	char target[24];         /* a builder: id of the image that its second disk is to be (vm_keep.c); "": no builder */
	uint64_t target_bytes;   /* size of that disk */
	char *tags[TAGS_MAX];    /* owned */
	unsigned n_tags;
	char *fault;             /* owned; NULL: it did not fail */
	char *allow, *drop;      /* owned: its own network rules, one a line; NULL: the group's */
	char *publish;           /* owned: its published ports (publish_spec.h), one a line; NULL: none */
	char *secrets;           /* owned: names of the secrets it may have, a blank between; NULL: all */
};

void record_done(struct record *r); /* safe on a zeroed struct */
/* Is it valid UTF-8 of 1..TAG_MAX bytes without control characters? */
bool tag_is_valid(const char *s, size_t n);
int record_add_tag(struct record *r, const char *tag); /* 0 (also when it is there), -ENOMEM, -ENOSPC, -EINVAL */
bool record_has_tag(const struct record *r, const char *tag);
void record_drop_tag(struct record *r, const char *tag);
bool record_may_have(const struct record *r, const char *secret);

/* Text of the file. 0, -ENOMEM/-ENOBUFS. */
int record_format(const struct record *r, struct buf *out);
/* The opposite; r needs no init and is empty on error. 0, -EINVAL with f (names the line), -ENOMEM. */
int record_parse(struct record *r, const char *text, size_t n, struct fault *f);
/* Writes `record` in dir_fd, complete or not at all. durable: also against a fall of the host (fsync). */
int record_save(const struct record *r, int dir_fd, bool durable);
int record_load(struct record *r, int dir_fd, struct fault *f); /* -ENOENT: there is none */

#endif
