/*
 * vmm/dev: the virtio devices, each a struct that starts with `struct vdev`, a const ops table, and nothing global.
 * They know guest memory (vmm/mem), rings and registers (vmm/virtio), descriptors they were given, and host-side
 * helpers (vmm/back); no KVM, no path, no other device. Each has a unit test and a fuzz target that drive it
 * through registers and rings. Threads: vmm/virtio/vdev.h.
 *
 * blk: a disk of lib/disk, raw or an overlay (virtio 1.2 §5.2), with a queue for each vCPU up to four. Reads and writes go straight between guest
 * memory and the file; FLUSH is disk_flush; DISCARD and WRITE_ZEROES are holes. A host error is VIRTIO_BLK_S_IOERR for that request and
 * counted, never the end of the VM; blk_trouble() says that there are some.
 *
 * Threads: the loop takes requests out of the rings and answers what needs no wait (small reads from the page cache, by preadv2 with
 * RWF_NOWAIT); all else is done by the disk's workers (blk_work), which take further requests themselves as long as there are any. So as many requests
 * are under way as there are workers, in any order, and the loop never waits for a device; but of writes one, since a file system lets one thread at a
 * time write to a file, and others spin for their turn (io_uring does the same for that reason). Without workers the caller does the work. The rings are
 * the queue: at most BLK_JOBS requests are out of them at once. A reset drops what no worker has begun and waits for the rest.
 *
 * Why threads and no io_uring: what a ring is asked to do passes no seccomp filter, so a taken-over thread would have the kernel's largest
 * young attack surface to itself (jail's filter keeps it from every vmm; hardened hosts and containers switch it off, so threads must exist anyway);
 * buffered files, which disks of ours are, are worked on by threads there too, the kernel's own.
 *
 * Syscalls of the loop: preadv2 futex, and the loop's. Of a worker: preadv pwritev fdatasync fallocate futex write clock_gettime.
 */
#ifndef VMM_DEV_BLK_H
#define VMM_DEV_BLK_H

#include "lib/disk/disk.h"
#include "vmm/back/shape.h"
#include "vmm/virtio/vdev.h"

#define BLK_ID_BYTES 20u
#define BLK_QUEUES_MAX 4u
#define BLK_WORKERS_MAX 4u
#define BLK_JOBS (BLK_WORKERS_MAX + 2u)
#define BLK_CALM_MS 5000u /* so long without a host error, then a write that succeeds: the trouble is over */

struct blk;
/* Takes the descriptors, also on error. id ≤ 20 bytes, may be NULL. queues: 1 to BLK_QUEUES_MAX. 0 or -errno with a sentence. */
int blk_new(struct blk **out, struct gm *gm, const struct disk_files *files, bool read_only, const char *id, unsigned queues, struct fault *f);
void blk_free(struct blk *b); /* after its threads have ended; NULL is fine */
struct vdev *blk_vdev(struct blk *b);
/* Bytes and requests (packets_s) a second for reads and writes together: what is over waits in the ring. 0: no limit. Before vCPUs run. */
void blk_limit(struct blk *b, const struct shape_limit *limit);
/* So many threads (≤ BLK_WORKERS_MAX) call blk_work(), sooner or later: what has to wait is theirs alone. 0, as it begins: the caller's. Before vCPUs run. */
void blk_set_workers(struct blk *b, unsigned n);
/* The body of a worker's thread: serves requests until blk_quit(). */
void blk_work(struct blk *b);
void blk_quit(struct blk *b);
/* Nothing more is taken out of the rings until blk_release(). 0: what was taken is finished, too; -ETIMEDOUT: not yet. Any thread; nests. */
int blk_hold(struct blk *b, unsigned timeout_ms);
void blk_release(struct blk *b);
/* Looks at the file's size again and tells the guest when it changed. Any thread. fstat. 0 or -errno. */
int blk_resized(struct blk *b, struct fault *f);
uint64_t blk_bytes(struct blk *b); /* as the guest sees it. Any thread. */

/* The host's own errors: fn is called when they begin and when a write has succeeded again after BLK_CALM_MS without; any thread, the device's lock
 * held. Before vCPUs run. */
void blk_on_trouble(struct blk *b, void (*fn)(void *arg), void *arg);
int blk_trouble(struct blk *b); /* 0, or the errno (> 0) of the last one. Any thread. */

#endif
