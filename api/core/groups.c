#include "api/core/groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/vm.h"

#define FORMAT "1"
#define SUFFIX ".yaml"
#define FILE_NAME_MAX (GROUP_NAME_MAX + sizeof(SUFFIX))
#define FILES_MAX 4096u /* looked at */

static const char *file_name(const char *group, char out[FILE_NAME_MAX])
{
	snprintf(out, FILE_NAME_MAX, "%.*s" SUFFIX, (int)GROUP_NAME_MAX, group);
	return out;
}

int groups_open(struct core *c, struct fault *f)
{
	if (mkdirat(c->state_fd, "groups", 0700) && errno != EEXIST)
		return fault_errno(f, -errno, "folder 'groups' in the state folder");
	c->groups_fd = openat(c->state_fd, "groups", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (c->groups_fd < 0 || fchmod(c->groups_fd, 0700))
		return fault_errno(f, -errno, "folder 'groups' in the state folder");
	return 0;
}

/* ---- files ---- */

int groups_save(const struct core *c, const struct host_group *g)
{
	struct yaml_node keys = *g->doc.root, version = { .kind = YAML_SCALAR, .key = "mica-group", .text = FORMAT, .plain = true, .next = &keys };
	const struct yaml_node all = { .kind = YAML_MAPPING, .first = &version };
	char name[FILE_NAME_MAX];
	struct buf text;
	int err;

	keys.key = "group";
	keys.next = NULL;
	buf_init(&text, YAML_TEXT_MAX);
	yaml_write(&text, &all);
	err = text.failed ? -EFBIG : write_file_atomic(c->groups_fd, file_name(g->name, name), buf_data(&text), buf_len(&text), 0600);
	buf_done(&text);
	return err;
}

int groups_unlink(const struct core *c, const char *name)
{
	char file[FILE_NAME_MAX];

	if (unlinkat(c->groups_fd, file_name(name, file), 0) && errno != ENOENT)
		return -errno;
	return fsync(c->groups_fd) ? -errno : 0;
}

bool groups_left_out(const struct core *c, const char *name)
{
	char file[FILE_NAME_MAX];
	struct stat st;

	return name_is_valid(name, GROUP_NAME_MAX) && !config_group(&c->config, name) &&
	       fstatat(c->groups_fd, file_name(name, file), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The keys out of a file's text. */
static int parse(struct yaml_doc *d, const char *shown, const char *text, size_t n, struct fault *f)
{
	const struct yaml_node *version, *keys;
	int err = yaml_doc_parse(d, shown, text, n, f);

	if (err)
		return err;
	version = yaml_child(d->root, "mica-group");
	keys = yaml_child(d->root, "group");
	if (!version || version->kind != YAML_SCALAR || !keys || keys->kind != YAML_MAPPING)
		err = yaml_fault(d, 1, f, "this is no file of a host group");
	else if (strcmp(version->text, FORMAT) != 0)
		err = yaml_fault(d, version->line, f, "format %.20s is not known: it was written by another version of mica", version->text);
	else
		d->root = yaml_child(d->root, "group");
	if (err)
		yaml_doc_done(d);
	return err;
}

static int load(struct core *c, const char *name, struct fault *f)
{
	char file[FILE_NAME_MAX], shown[FILE_NAME_MAX + 8], *text;
	struct config_notes notes;
	struct host_group g;
	struct yaml_doc d;
	size_t n;
	int err = read_file_at(c->groups_fd, file_name(name, file), YAML_TEXT_MAX, &text, &n);

	if (err)
		return fault_set(f, err, "%s", strerror(-err));
	snprintf(shown, sizeof(shown), "groups/%s", file);
	err = parse(&d, shown, text, n, f);
	free(text);
	if (err)
		return err;
	if (!yaml_child(d.root, "name") || strcmp(yaml_child(d.root, "name")->text ? yaml_child(d.root, "name")->text : "", name) != 0) {
		yaml_doc_done(&d);
		return fault_set(f, -EINVAL, "%s: another name stands inside", shown);
	}
	err = config_check_added(&c->config, &d, NULL, &g, &notes, f);
	if (!err)
		config_add(&c->config, &g);
	return err;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The names of all files, in order: of two that clash the same one wins at every start. */
static size_t list_files(struct core *c, char (*names)[GROUP_NAME_MAX + 1], size_t max)
{
	int fd = openat(c->groups_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	size_t n = 0;

	if (!dir) {
		core_say(c, "NOTE", "folder 'groups' in the state folder cannot be read, host groups made by the API are missing: %s", strerror(errno));
		fd_close(&fd);
		return 0;
	}
	for (unsigned i = 0; n < max && i < FILES_MAX && (e = readdir(dir)); i++) {
		size_t len = strlen(e->d_name), end = strlen(SUFFIX);

		if (e->d_name[0] == '.' && len > 4 && strcmp(e->d_name + len - 4, ".new") == 0)
			unlinkat(c->groups_fd, e->d_name, 0); /* was being written */
		if (len <= end || len - end > GROUP_NAME_MAX || strcmp(e->d_name + len - end, SUFFIX) != 0)
			continue;
		memcpy(names[n], e->d_name, len - end);
		names[n][len - end] = 0;
		n += name_is_valid(names[n], GROUP_NAME_MAX);
	}
	closedir(dir);
	qsort(names, n, sizeof(*names), by_name);
	return n;
}

void groups_load(struct core *c)
{
	char (*names)[GROUP_NAME_MAX + 1] = calloc(FILES_MAX, sizeof(*names));
	size_t n = names ? list_files(c, names, FILES_MAX) : 0;

	for (size_t i = 0; i < n; i++) {
		struct fault f = { "" };

		if (load(c, names[i], &f))
			core_say(c, "NOTE", "host group '%s', made by the API, is left out: %s; its file groups/%s" SUFFIX " in the state folder is kept",
				 names[i], f.text, names[i]);
	}
	free(names);
}

/* ---- in memory ---- */

struct host_group *groups_find(struct core *c, const char *name)
{
	const struct host_group *g = config_group(&c->config, name);

	return g ? &c->config.groups[g - c->config.groups] : NULL;
}

/* Pointers to groups behind i follow them one place up. */
static void follow(struct vm *list, const struct host_group *gone)
{
	for (struct vm *vm = list; vm; vm = vm->next)
		if (vm->group == gone)
			vm->group = NULL;
		else if (vm->group > gone)
			vm->group--;
}

void groups_take_out(struct core *c, size_t i)
{
	size_t behind = c->config.n_groups - i - 1;

	follow(c->reg.first, &c->config.groups[i]);
	follow(c->reg.graves, &c->config.groups[i]);
	memmove(&c->net_up[i], &c->net_up[i + 1], behind * sizeof(c->net_up[0]));
	c->net_up[i + behind] = false;
	config_take_out(&c->config, i);
}

struct host_group groups_replace(struct host_group *g, const struct host_group *by_taken)
{
	struct host_group old = *g;

	*g = *by_taken;
	g->core = old.core;
	memcpy(g->prefix6, old.prefix6, sizeof(g->prefix6));
	g->dns_served = old.dns_served;
	return old;
}

void groups_reclaim(struct core *c, const struct host_group *g)
{
	for (struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (!vm->group && strcmp(vm->r.group, g->name) == 0)
			vm->group = g;
}
