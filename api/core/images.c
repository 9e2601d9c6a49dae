#include "api/core/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/core.h"
#include "api/core/store.h"
#include "lib/disk/disk.h"

#define META "meta"
#define MAP "disk.map"
#define FLAT "disk.new"

static int meta_write(const struct image *im, int dir_fd)
{
	struct buf b;
	int err;

	buf_init(&b, IMAGE_META_MAX);
	err = image_meta_format(im, &b);
	if (!err)
		err = write_file_atomic(dir_fd, META, buf_data(&b), buf_len(&b), 0600);
	buf_done(&b);
	return err;
}

/* ---- the folder ---- */

int images_open(struct core *c, struct fault *f)
{
	c->images.dir_fd = core_open_folder(c->state_fd, "images", f);
	return c->images.dir_fd < 0 ? c->images.dir_fd : 0;
}

static int load(struct images *s, const char *id)
{
	struct image *im = calloc(1, sizeof(*im));
	AUTO_FD fd = store_folder(s->dir_fd, id);
	struct stat st;
	char *text = NULL;
	int err = !im ? -ENOMEM : fd < 0 ? fd : read_file_at(fd, META, IMAGE_META_MAX, &text, NULL);

	if (!err) {
		memcpy(im->id, id, strlen(id) + 1);
		err = image_meta_parse(im, text);
	}
	if (!err && (fstatat(fd, STORE_DISK, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != im->bytes))
		err = -EINVAL;
	free(text);
	if (err)
		image_free(im);
	else
		images_add(s, im);
	return err;
}

void images_load(struct core *c)
{
	int fd = openat(c->images.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return;
	}
	for (unsigned i = 0; i < 2 * IMAGES_MAX && (e = readdir(d)); i++) {
		if (e->d_name[0] == '.' && image_id_is_valid(e->d_name + 1)) {
			images_erase(&c->images, e->d_name);
		} else if (image_id_is_valid(e->d_name)) {
			err = load(&c->images, e->d_name);
			if (err)
				core_say(c, "NOTE", "folder images/%s is left alone: %s", e->d_name, err == -EINVAL ? "its meta file or disk is damaged" : strerror(-err));
		}
	}
	closedir(d);
	for (const struct image *im = c->images.first; im; im = im->next)
		if (im->base[0] && !images_find(&c->images, im->base))
			core_say(c, "NOTE", "image '%s' lies over '%s', which is not there: 'mica image remove %s', and build it again", im->id, im->base, im->id);
	for (size_t i = 0; i < c->config.n_groups; i++) {
		const struct conf_file *image = &c->config.groups[i].image;

		if (image->stored && !images_find(&c->images, image->path))
			core_say(c, "NOTE", "host group '%s' wants image '%s', which is not there yet: mica image import --name %s FILE", c->config.groups[i].name,
				 image->path, image->path);
	}
}

void images_add(struct images *s, struct image *im_taken)
{
	struct image **at = &s->first;

	while (*at && (*at)->created_ns > im_taken->created_ns)
		at = &(*at)->next;
	im_taken->next = *at;
	*at = im_taken;
	s->count++;
}

struct image *images_find(const struct images *s, const char *name_or_id)
{
	char name[IMAGE_NAME_MAX + 1] = "";
	bool id = image_id_is_valid(name_or_id);

	if (!id && !image_name_complete(name_or_id, name))
		return NULL;
	for (struct image *im = s->first; im; im = im->next) {
		if (id && strcmp(im->id, name_or_id) == 0)
			return im;
		for (unsigned i = 0; !id && i < im->n_names; i++)
			if (strcmp(im->names[i], name) == 0)
				return im;
	}
	return NULL;
}

int images_disk(const struct images *s, const char *id)
{
	return store_disk(s->dir_fd, id);
}

uint64_t images_stored(const struct images *s, const char *id)
{
	return store_taken_bytes(s->dir_fd, id);
}

static void unfinished(const char *id, char temp[IMAGE_ID_BYTES + 2])
{
	snprintf(temp, IMAGE_ID_BYTES + 2, ".%s", id);
}

int images_begin(const struct images *s, const char *id)
{
	char temp[IMAGE_ID_BYTES + 2];

	unfinished(id, temp);
	return store_begin(s->dir_fd, temp);
}

int images_unfinished(const struct images *s, const char *id)
{
	char temp[IMAGE_ID_BYTES + 2];
	int fd;

	unfinished(id, temp);
	AUTO_FD dir = store_folder(s->dir_fd, temp);
	fd = dir < 0 ? dir : openat(dir, STORE_DISK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return dir >= 0 && fd < 0 ? -errno : fd;
}

int images_map(const struct images *s, const char *id, bool finished, int flags)
{
	char temp[IMAGE_ID_BYTES + 2];
	int fd;

	unfinished(id, temp);
	AUTO_FD dir = store_folder(s->dir_fd, finished ? id : temp);
	fd = dir < 0 ? dir : openat(dir, MAP, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return dir >= 0 && fd < 0 ? -errno : fd;
}

int images_flatten(const struct images *s, const char *id, int base_fd)
{
	struct disk_files files = { .top_fd = images_unfinished(s, id), .base_fd = base_fd, .map_fd = images_map(s, id, false, O_RDONLY) };
	char temp[IMAGE_ID_BYTES + 2];
	struct disk d;
	int err;

	unfinished(id, temp);
	AUTO_FD dir = store_folder(s->dir_fd, temp);
	AUTO_FD to = dir < 0 || files.map_fd < 0 ? -1 : openat(dir, FLAT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0 || files.top_fd < 0 || base_fd < 0) {
		err = files.map_fd == -ENOENT && files.top_fd >= 0 ? 0 : files.map_fd < 0 ? files.map_fd : files.top_fd < 0 ? files.top_fd : base_fd < 0 ? base_fd : -EIO;
		fd_close(&files.top_fd);
		fd_close(&files.base_fd);
		fd_close(&files.map_fd);
		return err;
	}
	err = disk_open(&d, &files, NULL, NULL);
	if (err)
		return err;
	err = disk_flatten(&d, to);
	disk_done(&d);
	return err || (renameat(dir, FLAT, dir, STORE_DISK) == 0 && unlinkat(dir, MAP, 0) == 0) ? err : -errno;
}

int images_finish(const struct images *s, struct image *im)
{
	char temp[IMAGE_ID_BYTES + 2];
	struct stat st;
	int err;

	unfinished(im->id, temp);
	AUTO_FD dir = store_folder(s->dir_fd, temp);
	AUTO_FD disk = images_unfinished(s, im->id);
	if (dir < 0 || disk < 0 || fstat(disk, &st) || fsync(disk) || fchmod(disk, 0400))
		return dir < 0 ? dir : disk < 0 ? disk : -errno;
	im->bytes = (uint64_t)st.st_size;
	err = meta_write(im, dir);
	if (!err && (fsync(dir) || renameat(s->dir_fd, temp, s->dir_fd, im->id) || fsync(s->dir_fd)))
		err = -errno;
	return err;
}

int images_abandon(const struct images *s, const char *id)
{
	char temp[IMAGE_ID_BYTES + 2];

	unfinished(id, temp);
	return images_erase(s, temp);
}

/* ---- names ---- */

static int save(const struct images *s, const struct image *im)
{
	AUTO_FD dir = store_folder(s->dir_fd, im->id);

	return dir < 0 ? dir : meta_write(im, dir);
}

static int drop_name(struct images *s, struct image *im, const char *name)
{
	for (unsigned i = 0; i < im->n_names; i++) {
		char *was = im->names[i];
		int err;

		if (strcmp(was, name) != 0)
			continue;
		memmove(&im->names[i], &im->names[i + 1], (--im->n_names - i) * sizeof(im->names[0]));
		err = save(s, im);
		if (err)
			im->names[im->n_names++] = was;
		else
			free(was);
		return err;
	}
	return 0;
}

int images_name(struct images *s, struct image *im, const char *name)
{
	struct image *had = images_find(s, name);
	int err;

	if (im && had == im)
		return 0;
	if (im && im->n_names == IMAGE_NAMES_MAX)
		return -ENOSPC;
	err = had ? drop_name(s, had, name) : 0;
	if (err || !im)
		return err;
	im->names[im->n_names] = strdup(name);
	if (!im->names[im->n_names])
		return -ENOMEM;
	im->n_names++;
	err = save(s, im);
	if (err) {
		free(im->names[--im->n_names]);
		if (had) { /* it was written without the name: what holds here is what the next start finds, or better */
			had->names[had->n_names] = strdup(name);
			had->n_names += had->names[had->n_names] != NULL;
			(void)save(s, had);
		}
	}
	return err;
}

/* ---- the end ---- */

int images_take_out(struct images *s, struct image *im, char gone[IMAGE_ID_BYTES + 2])
{
	struct image **at = &s->first;

	unfinished(im->id, gone);
	if (renameat(s->dir_fd, im->id, s->dir_fd, gone) || fsync(s->dir_fd))
		return -errno;
	while (*at != im)
		at = &(*at)->next;
	*at = im->next;
	s->count--;
	image_free(im);
	return 0;
}

int images_erase(const struct images *s, const char *gone)
{
	static const char *const names[] = { STORE_DISK, MAP, FLAT, META, "." META ".new" };
	AUTO_FD dir = store_folder(s->dir_fd, gone);

	if (dir == -ENOENT)
		return 0;
	for (size_t i = 0; dir >= 0 && i < ARRAY_LEN(names); i++)
		if (unlinkat(dir, names[i], 0) && errno != ENOENT)
			return -errno;
	return unlinkat(s->dir_fd, gone, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}
