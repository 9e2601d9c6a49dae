/* The device of a macvtap link, opened for core: it is root's. See cage.h for the room. */
#ifndef VMM_JAIL_MACVTAP_H
#define VMM_JAIL_MACVTAP_H

#include "lib/base/base.h"
#include "lib/wire/jail.h"

/* `queues` descriptors of /dev/tapINDEX, non-blocking, owned by the caller. Only a link that carries mica's alias, and only the device that the kernel
 * names for it: another network namespace may have a link of that index, and the node is its. 0, or -errno with f (then none is open). */
int macvtap_open(unsigned index, unsigned queues, int fds[JAIL_QUEUES_MAX], struct fault *f);

#endif
