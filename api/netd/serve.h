/* The loop of netd: frames from core until its end of the channel closes. */
#ifndef API_NETD_SERVE_H
#define API_NETD_SERVE_H

#include "api/netd/netd.h"

int netd_run(struct netd *n); /* 0 at the end, -errno when core broke the rules */

#endif
