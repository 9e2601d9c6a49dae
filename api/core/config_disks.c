/* More disks than the root disk: of a size, made for each VM, or a file of the host; and what all disks of a VM may move a second. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "api/core/config_int.h"
#include "api/core/record.h"

/* One that the file's groups hold open, for the same use: core opens nothing of a client's choice. */
static int borrow(struct checking *x, const struct keys_disk *k, struct conf_file *out)
{
	for (size_t i = 0; i + 1 < x->c->n_groups; i++) {
		const struct host_group *g = &x->c->groups[i];

		for (unsigned j = 0; j < g->n_disks; j++) {
			const struct conf_disk *d = &g->disks[j];

			if (d->file.fd < 0 || d->read_only != k->read_only.v || strcmp(d->file.path, k->file.v) != 0)
				continue;
			*out = (struct conf_file){ k->file.v, fcntl(d->file.fd, F_DUPFD_CLOEXEC, 3), d->file.bytes };
			return out->fd < 0 ? REFUSE(x, k->file.line, "disk '%.200s': %s", k->file.v, strerror(errno)) : 0;
		}
	}
	return REFUSE(x, k->file.line, "disk '%.200s' is not open in the daemon, %s: name one that a host group of the daemon's file uses in the "
		      "same way", k->file.v, k->read_only.v ? "read-only" : "for writing");
}

static int open_disk(struct checking *x, const struct keys_disk *k, struct conf_file *out)
{
	struct stat st;

	out->path = k->file.v;
	out->fd = open(k->file.v, (k->read_only.v ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (out->fd < 0)
		return REFUSE(x, k->file.line, "disk '%.200s': %s%s", k->file.v, strerror(errno),
			      errno == EROFS || errno == EACCES ? ": read_only: true may do" : "");
	if (fstat(out->fd, &st) || !S_ISREG(st.st_mode))
		return REFUSE(x, k->file.line, "disk '%.200s' is not a regular file", k->file.v);
	if (st.st_size <= 0 || st.st_size % 512)
		return REFUSE(x, k->file.line, "disk '%.200s' has %lld bytes: a disk has whole sectors of 512 (truncate -s %%512 FILE)", k->file.v,
			      (long long)st.st_size);
	out->bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_file(struct checking *x, const struct keys_disk *k, struct host_group *g, struct conf_disk *d)
{
	int r = x->by_api ? borrow(x, k, &d->file) : open_disk(x, k, &d->file);

	if (r)
		return r;
	d->bytes = d->file.bytes;
	if (!d->read_only && g->count > 1)
		return REFUSE(x, k->file.line, "group '%s': disk '%.200s' can be written by one VM only, count is %u: add read_only: true, or give "
			      "a size instead of a file", g->name, k->file.v, g->count);
	for (const struct conf_disk *o = g->disks; o < d; o++)
		if (conf_disks_clash(o, d))
			return REFUSE(x, k->file.line, "group '%s': disk '%.200s' is there twice", g->name, k->file.v);
	return 0;
}

bool conf_disks_same(const struct conf_disk *a, const struct conf_disk *b)
{
	struct stat x, y;

	return a->file.fd >= 0 && b->file.fd >= 0 && !fstat(a->file.fd, &x) && !fstat(b->file.fd, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool conf_disks_clash(const struct conf_disk *a, const struct conf_disk *b)
{
	return !(a->read_only && b->read_only) && conf_disks_same(a, b);
}

static int check_disk(struct checking *x, const struct keys_disk *k, struct host_group *g)
{
	struct conf_disk *d = &g->disks[g->n_disks++];

	*d = (struct conf_disk){ .read_only = k->read_only.v, .file.fd = -1, .bytes = k->size.v };
	if (!k->size.line == !k->file.line)
		return REFUSE(x, k->line, "group '%s': a disk needs either a size (a new one for each VM) or a file", g->name);
	if (k->file.line)
		return check_file(x, k, g, d);
	if (k->read_only.v)
		return REFUSE(x, k->read_only.line, "group '%s': a new disk that cannot be written is of no use: remove read_only", g->name);
	if (!d->bytes || d->bytes > DISK_MAX_BYTES || d->bytes % 4096)
		return REFUSE(x, k->size.line, "group '%s': a disk's size is a multiple of 4096 bytes up to 16T, for example 10G", g->name);
	return 0;
}

int config_check_disks(struct checking *x, const struct keys_group *k, struct host_group *g)
{
	const struct keys_disk *disks = k->disks.v;
	int r = 0;

	if (k->disk_bytes_per_s.line && (k->disk_bytes_per_s.v < DISK_BYTES_S_MIN || k->disk_bytes_per_s.v > NET_RATE_MAX))
		return REFUSE(x, k->disk_bytes_per_s.line, "group '%s': disk_bytes_per_s must be at least %u, for example 100M", g->name, DISK_BYTES_S_MIN);
	if (k->disk_iops.line && (k->disk_iops.v < 1 || k->disk_iops.v > NET_RATE_MAX))
		return REFUSE(x, k->disk_iops.line, "group '%s': disk_iops must be at least 1: leave it out for no limit", g->name);
	g->disk_bytes_s = k->disk_bytes_per_s.v;
	g->disk_ops_s = k->disk_iops.v;
	for (size_t i = 0; i < k->disks.n && !r; i++) /* at most GROUP_DISKS_MAX: the table of keys */
		r = check_disk(x, &disks[i], g);
	return r;
}
