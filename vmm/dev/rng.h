/*
 * vmm/dev/rng.h: entropy from getrandom(2) (virtio 1.2 §5.4), at most RNG_REQUEST_BYTES_MAX per request. Syscalls: getrandom.
 */
#ifndef VMM_DEV_RNG_H
#define VMM_DEV_RNG_H

#include "vmm/virtio/vdev.h"

#define RNG_REQUEST_BYTES_MAX 4096u

struct rng;
int rng_new(struct rng **out, struct gm *gm);
void rng_free(struct rng *r); /* NULL is fine */
struct vdev *rng_vdev(struct rng *r);

#endif
