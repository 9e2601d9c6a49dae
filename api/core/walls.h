/* What core gives up once it has opened what it needs. See core.h for the room. */
#ifndef API_CORE_WALLS_H
#define API_CORE_WALLS_H

#include "lib/base/base.h"

/* Another user without capabilities (uid -1: the same one), no new privileges, paths beneath the state folder alone where there is Landlock. 0 or -errno. */
int core_drop_rights(uid_t uid, gid_t gid, int state_fd, struct fault *f);
/* The listed system calls alone, for this process and the helpers that it forks; anything else kills it, and the supervisor starts it again. 0 or -errno. */
int core_filter_calls(struct fault *f);

#endif
