/* What jail itself gives up, and with it every vmm that it starts. See cage.h for the room. */
#ifndef VMM_JAIL_WALLS_H
#define VMM_JAIL_WALLS_H

#include "lib/base/base.h"

/* The capabilities and the system calls that cages take. Call it once everything is found out. 0 or -errno with f. */
int jail_drop_rights(struct fault *f);

#endif
