/*
 * vmm/dev: the virtio devices, each a struct that starts with `struct vdev`, a const ops table, and nothing global.
 * They know guest memory (vmm/mem), rings and registers (vmm/virtio), descriptors they were given, and host-side
 * helpers (vmm/back); no KVM, no path, no other device. Each has a unit test and a fuzz target that drive it
 * through registers and rings. Threads: vmm/virtio/vdev.h.
 *
 * blk: a disk of lib/disk, raw or an overlay (virtio 1.2 §5.2). Reads and writes go straight between guest memory and the file; FLUSH is
 * disk_flush; DISCARD and WRITE_ZEROES are holes. A host error is VIRTIO_BLK_S_IOERR for that request and a count, never the end of the VM.
 * Own loop and thread: the lock is dropped during I/O. Syscalls of that thread: preadv pwritev fdatasync fallocate futex, and the loop's.
 */
#ifndef VMM_DEV_BLK_H
#define VMM_DEV_BLK_H

#include "lib/disk/disk.h"
#include "vmm/back/shape.h"
#include "vmm/virtio/vdev.h"

#define BLK_ID_BYTES 20u

struct blk;
/* Takes the descriptors, also on error. id ≤ 20 bytes, may be NULL. 0 or -errno with a sentence. */
int blk_new(struct blk **out, struct gm *gm, const struct disk_files *files, bool read_only, const char *id, struct fault *f);
void blk_free(struct blk *b); /* after its thread has ended; NULL is fine */
struct vdev *blk_vdev(struct blk *b);
/* Bytes and requests (packets_s) a second for reads and writes together: what is over waits in the ring. 0: no limit. Before vCPUs run. */
void blk_limit(struct blk *b, const struct shape_limit *limit);
/* Looks at the file's size again and tells the guest when it changed. Any thread; waits for a request at work. fstat. 0 or -errno. */
int blk_resized(struct blk *b, struct fault *f);
uint64_t blk_bytes(struct blk *b); /* as the guest sees it. Any thread. */

#endif
