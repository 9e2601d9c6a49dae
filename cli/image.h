/* cli/image: what image and disk verbs share: builders, VMs without network in which files of unknown origin are looked at. Room card: cli.h. */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include "cli/remote.h"

/* In a builder: its second disk to /new. Without its journal where that is clean, for a builder that ends early leaves nothing of worth: half the writes. */
#define MOUNT_NEW "mkdir -p /new; mount -t ext4 -o noatime,noload /dev/vdb /new 2>/dev/null || mount -t ext4 -o noatime /dev/vdb /new; "

/* Before that, where it is to be empty. */
#define SPREAD_EMPTY "/usr/lib/mica/unpack --spread /usr/lib/mica/empty.ext4.gz /dev/vdb; "

/* The whole verb: pos[0] becomes an image of the store. raw_disk: it is a raw ext4 disk; else an archive, or what its first bytes say. */
int image_import(struct args *a, bool raw_disk);
/* Runs a program as root in a VM and waits; its output in *out (owned by an). doing: "cannot unpack the archive". 0, or EXIT_FAIL after saying why. */
int image_exec(const struct remote *r, const char *vm, const char *const *argv, struct answer *an, const char **out, const char *doing, const char *fix);

/* "build-cache:" and digits: the name of a step that a build keeps (build_cache.c), no person's. */
bool cache_name_is(const char *name);
/* One line about an image, from the daemon's JSON. */
void image_print(const struct json_val *v);

#endif
