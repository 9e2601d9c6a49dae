/*
 * What is done to the disks of VMs that there are: how much they take, growing, export, and giving zeros back to the host. ask_disks.c answers front,
 * disk_jobs.c holds what may wait for a disk (in a helper child). A VM has at most one such job; starting or removing the VM ends it.
 * Growing: the record says the new size first, then the file has it: cut in between, the next start makes up for it (disk_fit). Then
 * vmm tells the guest, then the agent grows the root file system. Disks never shrink.
 */
#ifndef API_CORE_DISKS_H
#define API_CORE_DISKS_H

#include "api/core/vm.h"

struct disk_use {
	uint64_t own_bytes;    /* that removing the VM would give back: its files, without extents of others */
	uint64_t shared_bytes; /* of the image that it lies over, or extents that it shares */
};
/* Looks at the host's files: a few calls, no waiting. */
struct disk_use disk_use(const struct vm *vm);
/* Is the file as long as the record says? Now it is. 0 or -errno. */
int disk_fit(const struct vm *vm, int disk_fd);

/* ---- besides the root disk (vm_disks.c) ---- */
/* 0, or -EBUSY with a sentence: who writes or reads one of them now. */
int vm_disks_free(const struct vm *vm, struct fault *f);
/* The same, and then they are its own: before its process is made. */
int vm_disks_claim(struct vm *vm, struct fault *f);
void vm_disks_let_go(struct vm *vm);
int vm_disk_extra(const struct vm *vm, unsigned i); /* the i-th, made when it is a new one: fd (the caller's) or -errno */
/* V_DISK: said aloud when it begins and when it is over, and kept. */
void vm_disk_told(struct vm *vm, const struct wire_msg *m);
void vm_disk_error_put(struct buf *b, const struct vm *vm); /* C_T_DISK_ERROR, if there is one now */

/* The VM's process has gone: who waits for growing hears so. */
void disk_grow_over(struct vm *vm);

struct disk_job;
/* Its disk, flattened, as bytes: *out_fd is the end to read from, *bytes how many come. 0, -EBUSY (another job) or -errno. */
int disk_export(struct vm *vm, int *out_fd, uint64_t *bytes);
/* An image's disk, the same way; not bound to any VM. -EBUSY: too many at once. The file is closed in any case. */
int disk_export_image(struct core *c, int fd_taken, int *out_fd, uint64_t *bytes);
/* Blocks of zeros become holes; answers front's request. 0, -EBUSY or -errno. */
int disk_sparsify(struct vm *vm, uint32_t id, uint32_t who);
void disk_job_end(struct vm *vm); /* before its time; also when there is none */

#endif
