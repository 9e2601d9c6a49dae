/*
 * vmm/dev: the virtio devices, each a struct that starts with `struct vdev`, a const ops table, and nothing global.
 * They know guest memory (vmm/mem), rings and registers (vmm/virtio), descriptors they were given, and host-side
 * helpers (vmm/back); no KVM, no path, no other device. Each has a unit test and a fuzz target that drive it
 * through registers and rings. Threads: vmm/virtio/vdev.h.
 *
 * blk: a raw file or block device (virtio 1.2 §5.2). Reads and writes go straight between guest memory and the file; FLUSH is fdatasync;
 * DISCARD and WRITE_ZEROES are holes. A host error is VIRTIO_BLK_S_IOERR for that request and a count, never the end of the VM.
 * Own loop and thread: the lock is dropped during I/O. Syscalls of that thread: preadv pwritev pwrite64 fdatasync fallocate futex, and the loop's.
 */
#ifndef VMM_DEV_BLK_H
#define VMM_DEV_BLK_H

#include "vmm/virtio/vdev.h"

#define BLK_ID_BYTES 20u

struct blk;
/* fd: regular file or block device whose size is a multiple of 512; the device owns it on success. id ≤ 20 bytes, may be NULL.
 * fstat, ioctl BLKGETSIZE64. 0 or -errno with a sentence. */
int blk_new(struct blk **out, struct gm *gm, int fd, bool read_only, const char *id, struct fault *f);
void blk_free(struct blk *b); /* after its thread has ended; NULL is fine */
struct vdev *blk_vdev(struct blk *b);
/* Looks at the file's size again and tells the guest when it changed. Any thread. 0 or -errno. */
int blk_resized(struct blk *b, struct fault *f);

#endif
