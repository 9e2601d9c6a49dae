#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1u << 20)

/* The n-th ':' field of a line; "" when there is none. */
static char *field(char *line, unsigned n)
{
	while (n--) {
		line += strcspn(line, ":");
		if (!*line)
			return line;
		line++;
	}
	return line;
}

static void copy_field(char *dst, size_t cap, const char *src)
{
	size_t n = strcspn(src, ":\n");
	if (n >= cap)
		n = 0; /* cut in half it would name something else */
	memcpy(dst, src, n);
	dst[n] = '\0';
}

static bool field_number(const char *src, uint64_t *out)
{
	char text[16];
	copy_field(text, sizeof text, src);
	return parse_u64(text, UINT32_MAX - 1, out) == 0;
}

static bool is_member(const char *list, const char *name)
{
	size_t n = strlen(name);
	while (*list) {
		size_t len = strcspn(list, ",");
		if (len == n && memcmp(list, name, n) == 0)
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

/* Calls fn with each line (cut into a string of its own). */
static void each_line(const char *etc, const char *name, void (*fn)(struct who *w, char *line), struct who *w)
{
	char path[PATH_MAX], *text, *line, *next;
	size_t len;
	snprintf(path, sizeof path, "%s/%s", etc, name);
	if (read_file_at(AT_FDCWD, path, FILE_MAX_BYTES, &text, &len) < 0)
		return;
	for (line = text; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		fn(w, line);
	}
	free(text);
}

static void passwd_line(struct who *w, char *line)
{
	uint64_t uid, gid;
	if (w->name[0] || !field_number(field(line, 2), &uid) || uid != w->uid || !field_number(field(line, 3), &gid))
		return;
	w->gid = (gid_t)gid;
	copy_field(w->name, sizeof w->name, line);
	copy_field(w->home, sizeof w->home, field(line, 5));
	copy_field(w->shell, sizeof w->shell, field(line, 6));
}

static void group_line(struct who *w, char *line)
{
	uint64_t gid;
	if (w->n_groups < GROUPS_MAX && field_number(field(line, 2), &gid) && is_member(field(line, 3), w->name))
		w->groups[w->n_groups++] = (gid_t)gid;
}

void who_find(struct who *w, uid_t uid, const char *etc)
{
	memset(w, 0, sizeof *w);
	w->uid = uid;
	w->gid = (gid_t)uid;
	each_line(etc, "passwd", passwd_line, w);
	if (w->name[0])
		each_line(etc, "group", group_line, w);
	if (w->home[0] != '/')
		strcpy(w->home, uid ? "/" : "/root");
	if (w->shell[0] != '/')
		strcpy(w->shell, "/bin/sh");
}

int who_asked(struct who *w, const struct agent *a, const struct wire_msg *m, uid_t fallback_uid, struct fault *f)
{
	struct wire_field there;
	uint64_t uid = fallback_uid, gid;
	if (wire_get(m, A_T_UID, &there) && (!wire_field_u64(&there, &uid) || uid > UINT32_MAX - 1))
		return fault_set(f, -EINVAL, "uid must be a number from 0 to 4294967294");
	who_find(w, a->root ? (uid_t)uid : getuid(), "/etc");
	if (wire_get(m, A_T_GID, &there)) {
		if (!wire_field_u64(&there, &gid) || gid > UINT32_MAX - 1)
			return fault_set(f, -EINVAL, "gid must be a number from 0 to 4294967294");
		w->gid = (gid_t)gid;
	}
	return 0;
}

/* System calls: setgroups setresgid setresuid. Raw: libc's wrappers look for threads, which a vfork child must not. */
int who_become(const struct who *w)
{
	if (syscall(SYS_setgroups, (long)w->n_groups, w->groups) < 0 || syscall(SYS_setresgid, w->gid, w->gid, w->gid) < 0 ||
	    syscall(SYS_setresuid, w->uid, w->uid, w->uid) < 0)
		return -errno;
	return 0;
}
