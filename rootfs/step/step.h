/*
 * rootfs/step: the program that does one instruction of a Dockerfile inside a builder VM, on the new disk mounted at ROOT. What is to be done stands in
 * a file of "key=value" fields, each ended by a NUL (cli/build_guest.c writes it): nothing is quoted, nothing is too long for a command line.
 *
 * step grow ROOT            the file system to the disk's size
 * step run ROOT ASK         a command as ROOT's user, its root ROOT, in namespaces of its own: what it leaves running ends with it. Exit code: the command's
 * step folder ROOT ASK      WORKDIR
 * step copy ROOT ASK TAR    an archive's files to their place; TAR may be packed by gzip
 * step pack ROOT PATH OUT   a file or folder of ROOT as an archive, for another stage; prints "file" or "folder"
 * Errors: "error: …" on stderr, exit code 125. One thread.
 */
#ifndef ROOTFS_STEP_STEP_H
#define ROOTFS_STEP_STEP_H

#include "rootfs/unpack/unpack.h"

#define STEP_FAILED 125
#define ASK_BYTES_MAX (4u << 20)
#define ASK_WORDS_MAX 20000u
#define GROUPS_OF_USER_MAX 64u

struct ask {
	char *text;             /* owned: all that is below points into it */
	const char *user, *workdir, *dest, *chown; /* "" when not given */
	char **argv, **env;     /* owned arrays, NULL at the end */
	unsigned n_argv, n_env;
	int chmod;              /* -1 */
	bool single;            /* copy: the archive holds one file, dest may be its new name */
	bool owners;            /* copy: owners as the archive says */
	bool no_network;
};
int ask_read(struct ask *a, const char *path, struct fault *f);
void ask_done(struct ask *a);

struct who {
	uint32_t uid, gid;
	uint32_t groups[GROUPS_OF_USER_MAX];
	unsigned n_groups;
	char home[256];
};
/* "name", "name:group", numbers in place of either; "" is root. A number alone: its group from passwd, else group_of_number (the group of that number, or 0). */
int who_find(int root_fd, const char *text, bool group_of_number, struct who *out, struct fault *f);

int step_run(int root_fd, const char *root, const struct ask *a, struct fault *f); /* exit code, or -errno */
int step_folder(int root_fd, const struct ask *a, struct fault *f);
int step_copy(int root_fd, const struct ask *a, const char *archive, struct fault *f);
int step_pack(int root_fd, const char *path, const char *out, struct fault *f);

#endif
