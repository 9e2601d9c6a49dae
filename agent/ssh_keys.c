#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS_MAX (1u << 20) /* bytes of authorized_keys */
#define FILE_NAME "authorized_keys"

static bool has_line(const char *text, const char *line, size_t n)
{
	for (const char *p = text; (p = strstr(p, line)); p++)
		if ((p == text || p[-1] == '\n') && (p[n] == '\n' || !p[n]))
			return true;
	return false;
}

/* What is there, and each line of `more` that is not. */
static int joined(struct buf *out, const char *old, char *more)
{
	size_t n = strlen(old);
	char *save = NULL;
	buf_adds(out, old);
	if (n && old[n - 1] != '\n')
		buf_adds(out, "\n");
	for (char *line = strtok_r(more, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!has_line(old, line, strlen(line)))
			buf_printf(out, "%s\n", line);
	return out->failed ? -EFBIG : 0;
}

/* The user's home, made when there is none; then we are that user. */
static int enter_home(const struct job *j, const struct who *w, char home[PATH_MAX], struct fault *f)
{
	struct stat st;
	int rc = 0;
	if (!w->name[0] || strcmp(w->home, "/") == 0)
		return fault_set(f, -ENOENT, "the guest has no user %u with a home", (unsigned)w->uid);
	snprintf(home, PATH_MAX, "%s%s", j->a->prefix, w->home);
	if (stat(home, &st) < 0 && (rc = path_make(home)) == 0 && j->a->root)
		rc = chown(home, w->uid, w->gid) < 0 ? -errno : 0;
	if (rc == 0 && j->a->root)
		rc = who_become(w);
	return rc < 0 ? fault_errno(f, rc, home) : 0;
}

static int add_keys(const char *home, char *keys, struct fault *f)
{
	char *old = NULL;
	size_t n = 0;
	struct buf all;
	AUTO_FD dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || (mkdirat(dir, ".ssh", 0700) < 0 && errno != EEXIST))
		return fault_errno(f, -errno, home);
	AUTO_FD ssh = openat(dir, ".ssh", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ssh < 0)
		return fault_errno(f, -errno, ".ssh");
	int rc = read_file_at(ssh, FILE_NAME, KEYS_MAX, &old, &n);
	if (rc < 0 && rc != -ENOENT)
		return fault_errno(f, rc, FILE_NAME);
	buf_init(&all, KEYS_MAX);
	rc = joined(&all, old ? old : "", keys);
	if (rc == 0)
		rc = write_file_atomic(ssh, FILE_NAME, buf_data(&all), buf_len(&all), 0600);
	buf_done(&all);
	free(old);
	return rc < 0 ? fault_errno(f, rc, FILE_NAME) : 0;
}

void ssh_keys(struct job *j)
{
	struct fault f = {.text = ""};
	struct wire_field d;
	char home[PATH_MAX], etc[PATH_MAX];
	uint64_t uid = DEFAULT_UID;
	struct who w;
	(void)wire_get_u64(j->req, A_T_UID, &uid);
	char *keys = wire_get(j->req, A_T_DATA, &d) ? wire_field_dup(&d) : NULL;
	int rc = keys && uid < UINT32_MAX ? 0 : fault_set(&f, -EINVAL, "keys are needed, as lines of text");
	if (rc == 0) {
		snprintf(etc, sizeof etc, "%s/etc", j->a->prefix);
		who_find(&w, (uid_t)uid, etc);
		rc = enter_home(j, &w, home, &f);
	}
	umask(077);
	if (rc == 0)
		rc = add_keys(home, keys, &f);
	free(keys);
	if (rc < 0)
		job_refuse(j, rc, &f);
	else
		job_ok(j);
}
