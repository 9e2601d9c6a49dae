/* Names of users and groups, as the image's own files have them (passwd(5), group(5)). */
#include "rootfs/step/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)

static int text_in(int root_fd, const char *path, char **out)
{
	AUTO_FD fd = open_in_root(root_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
	char *p = calloc(1, FILE_BYTES_MAX + 1);
	ssize_t n = fd >= 0 && p ? read_full(fd, p, FILE_BYTES_MAX) : 0;

	*out = p;
	return !p ? -ENOMEM : n < 0 ? (int)n : 0; /* no file: an empty one */
}

/* The next line of *at, cut at its end and at its colons. How many fields; -1 at the end. */
static int next_line(char **at, char *field[8])
{
	int n = 0;
	char *p = *at, *end;

	if (!*p)
		return -1;
	end = p + strcspn(p, "\n");
	*at = end + (*end == '\n');
	*end = '\0';
	while (n < 8) {
		field[n++] = p;
		p = strchr(p, ':');
		if (!p)
			break;
		*p++ = '\0';
	}
	return n;
}

static bool number(const char *s, uint32_t *out)
{
	uint64_t v;

	if (parse_u64(s, UINT32_MAX - 1, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

/* Its line in passwd, by name or number. 1 found, 0 not, or -errno. */
static int find_user(int root_fd, const char *name, char found[256], struct who *out)
{
	char *text, *at, *field[8];
	uint32_t given = 0, uid, gid;
	bool by_number = number(name, &given);
	int err = text_in(root_fd, "etc/passwd", &text), n, got = 0;

	for (at = text; !err && !got && (n = next_line(&at, field)) >= 0;) {
		if (n < 6 || !number(field[2], &uid) || !number(field[3], &gid) || (strcmp(field[0], name) != 0 && !(by_number && uid == given)))
			continue;
		out->uid = uid;
		out->gid = gid;
		snprintf(out->home, sizeof(out->home), "%s", field[5]);
		snprintf(found, 256, "%s", field[0]);
		got = 1;
	}
	free(text);
	return err ? err : got;
}

static int find_group(int root_fd, const char *name, uint32_t *gid)
{
	char *text, *at, *field[8];
	int err = text_in(root_fd, "etc/group", &text), n, got = 0;

	for (at = text; !err && !got && (n = next_line(&at, field)) >= 0;)
		got = n >= 3 && strcmp(field[0], name) == 0 && number(field[2], gid);
	free(text);
	return err ? err : got;
}

static bool is_member(char *list, const char *name)
{
	for (char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, name, strlen(name)) == 0 && (p[strlen(name)] == ',' || !p[strlen(name)]))
			return true;
	return false;
}

static int more_groups(int root_fd, const char *name, struct who *out)
{
	char *text, *at, *field[8];
	uint32_t gid;
	int err = text_in(root_fd, "etc/group", &text), n;

	for (at = text; !err && (n = next_line(&at, field)) >= 0 && out->n_groups < GROUPS_OF_USER_MAX;)
		if (n >= 4 && *name && is_member(field[3], name) && number(field[2], &gid))
			out->groups[out->n_groups++] = gid;
	free(text);
	return err;
}

int who_find(int root_fd, const char *text, bool group_of_number, struct who *out, struct fault *f)
{
	char name[256], found[256] = "";
	const char *colon = strchr(text, ':');
	int got;

	*out = (struct who){ .home = "/" };
	if ((size_t)snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - text : (ptrdiff_t)strlen(text)), *text ? text : "0") >= sizeof(name) || !name[0])
		return !*text ? find_user(root_fd, "0", found, out), 0 : fault_set(f, -EINVAL, "'%.100s' names no user", text);
	got = find_user(root_fd, name, found, out);
	if (got < 0)
		return fault_errno(f, got, "etc/passwd");
	if (!got && !number(name, &out->uid))
		return fault_set(f, -ENOENT, "the image has no user '%.100s': give a number, or make it in a RUN before", name);
	if (!got)
		out->gid = group_of_number ? out->uid : 0;
	if (colon) {
		got = number(colon + 1, &out->gid) ? 1 : find_group(root_fd, colon + 1, &out->gid);
		if (got <= 0)
			return got ? fault_errno(f, got, "etc/group") : fault_set(f, -ENOENT, "the image has no group '%.100s': give a number, or make it in a RUN before", colon + 1);
		return 0; /* as with docker: no others then */
	}
	return more_groups(root_fd, found, out) ? fault_set(f, -EIO, "etc/group cannot be read") : 0;
}
