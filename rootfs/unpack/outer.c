/* The archive's own entries: where in the file each blob stands. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct indexing {
	struct outer *o;
	struct tar_reader r;
	bool image;  /* manifest.json, index.json or oci-layout was seen */
	bool rootfs; /* before that a folder that every root file system has, and no image's archive: the rest need not be looked at */
};

static bool is_of_rootfs(const char *name)
{
	static const char *const tops[] = { "bin", "boot", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "run", "sbin", "srv", "sys", "usr", "var" };
	size_t n = strcspn(name, "/");

	for (size_t i = 0; i < ARRAY_LEN(tops); i++)
		if (strlen(tops[i]) == n && memcmp(tops[i], name, n) == 0)
			return true;
	return false;
}

static int on_entry(void *arg, const struct tar_entry *e, struct fault *f)
{
	struct indexing *x = arg;
	struct outer *o = x->o;
	struct outer_entry *n;

	if (strcmp(e->name, "manifest.json") == 0 || strcmp(e->name, "index.json") == 0 || strcmp(e->name, "oci-layout") == 0)
		x->image = true;
	x->rootfs = !x->image && is_of_rootfs(e->name);
	if (x->rootfs)
		return -ECANCELED;
	if (e->kind == 'S') /* its data is not what the reader takes for it */
		return fault_set(f, -EOPNOTSUPP, "'%.200s' is a sparse file of GNU tar: write the archive without --sparse", e->name);
	if (e->type == TAR_DIR || (e->type == TAR_OTHER && e->kind != '1' && e->kind != '2'))
		return 0;
	if (o->n == OUTER_MAX) /* no image archive has so many; a root file system has */
		return x->image ? fault_set(f, -E2BIG, "the archive has more than %u entries", OUTER_MAX) : 0;
	if (!o->entries && !(o->entries = calloc(OUTER_MAX, sizeof(*o->entries))))
		return -ENOMEM;
	n = &o->entries[o->n];
	n->name = strdup(e->name);
	n->link = e->type == TAR_OTHER ? strdup(e->link) : NULL;
	n->at = x->r.at;
	n->bytes = e->size;
	o->n++;
	return n->name && (n->link || e->type != TAR_OTHER) ? 0 : -ENOMEM;
}

static int on_data(void *arg, const void *p, size_t n, struct fault *f)
{
	(void)arg, (void)p, (void)n, (void)f;
	return 0;
}

static int on_end(void *arg, struct fault *f)
{
	(void)arg, (void)f;
	return 0;
}

/* A packed archive cannot be looked into at will: unpacked once, into a file without a name. */
static int spool(void *arg, const void *p, size_t n, struct fault *f)
{
	struct indexing *x = arg;
	int err = tar_reader_feed(&x->r, p, n, f);

	if (err)
		return err;
	err = write_full(x->o->spare_fd, p, n);
	return err ? fault_set(f, err, "unpacking the archive: %s%s", strerror(-err), err == -ENOSPC ? LARGER : "") : 0;
}

static int index_packed(struct indexing *x, int scratch_dir, struct fault *f)
{
	struct outer *o = x->o;
	int err;

	o->spare_fd = openat(scratch_dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (o->spare_fd < 0)
		return fault_errno(f, -errno, "room to unpack the archive");
	err = stream_run(&o->whole, spool, x, NULL, f);
	if (x->rootfs) /* as it is, while it is unpacked */
		fd_close(&o->spare_fd);
	else if (!err)
		o->whole = (struct range){ o->spare_fd, 0, (uint64_t)lseek(o->spare_fd, 0, SEEK_CUR) };
	return err;
}

static void forget(struct outer *o)
{
	for (size_t i = 0; i < o->n; i++) {
		free(o->entries[i].name);
		free(o->entries[i].link);
	}
	free(o->entries);
	o->entries = NULL;
	o->n = 0;
}

int outer_read(struct outer *o, const struct range *archive, int scratch_dir, struct fault *f)
{
	static const struct tar_reader_ops ops = { .entry = on_entry, .data = on_data, .end = on_end };
	struct indexing *x = calloc(1, sizeof(*x));
	int err;

	*o = (struct outer){ .whole = *archive, .spare_fd = -1 };
	if (!x)
		return fault_set(f, -ENOMEM, "out of memory");
	x->o = o;
	tar_reader_init(&x->r, &ops, x);
	x->r.image = true;
	err = range_packing(archive) != PACK_NONE ? index_packed(x, scratch_dir, f) : stream_names(&o->whole, &x->r, f);
	if (!err)
		err = tar_reader_finish(&x->r, f);
	if (!err && x->r.entries == 0)
		err = fault_set(f, -EPROTO, "the archive is empty");
	if (x->rootfs)
		err = 0;
	o->rootfs = !x->image;
	if (!err && o->rootfs)
		forget(o);
	free(x);
	return err;
}

void outer_done(struct outer *o)
{
	forget(o);
	fd_close(&o->spare_fd);
}

/* "a/../b" of a link in folder "x" as a name of the archive: "x/b". false: leaves it. */
static bool resolve(const char *entry, const char *link, bool hard, char out[TAR_NAME_MAX])
{
	const char *slash = strrchr(entry, '/');
	size_t n = hard || !slash || link[0] == '/' ? 0 : (size_t)(slash - entry);

	memcpy(out, entry, n);
	while (*link) {
		size_t len = strcspn(link, "/");

		if (len == 2 && link[0] == '.' && link[1] == '.') {
			if (n == 0)
				return false;
			while (n && out[--n] != '/')
				;
		} else if (len && !(len == 1 && link[0] == '.')) {
			if (n + len + 2 > TAR_NAME_MAX)
				return false;
			if (n)
				out[n++] = '/';
			memcpy(out + n, link, len);
			n += len;
		}
		link += len + (link[len] == '/');
	}
	out[n] = '\0';
	return n > 0;
}

int outer_find(const struct outer *o, const char *name, struct range *out, struct fault *f)
{
	char at[TAR_NAME_MAX], next[TAR_NAME_MAX];

	if (strlen(name) >= sizeof(at))
		return fault_set(f, -EPROTO, "a name in the archive is too long");
	memcpy(at, name, strlen(name) + 1);
	for (unsigned hops = 0; hops < 8; hops++) {
		const struct outer_entry *e = NULL;

		for (size_t i = 0; i < o->n; i++) /* the last of a name counts, as in tar */
			if (strcmp(o->entries[i].name, at) == 0)
				e = &o->entries[i];
		if (!e)
			return fault_set(f, -ENOENT, "the archive has no '%.200s'", name);
		if (!e->link) {
			*out = (struct range){ o->whole.fd, o->whole.at + e->at, e->bytes };
			return 0;
		}
		if (!resolve(at, e->link, false, next) && !resolve(at, e->link, true, next))
			break;
		memcpy(at, next, sizeof(at));
	}
	return fault_set(f, -ELOOP, "'%.200s' in the archive is a link that leads nowhere", name);
}
