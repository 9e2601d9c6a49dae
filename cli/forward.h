/* cli/forward: local listeners whose connections end inside a VM, a WebSocket each (contract §1.12, §4.5). Used by vm forward. Room card: cli.h. */
#ifndef CLI_FORWARD_H
#define CLI_FORWARD_H

#include "cli/remote.h"

struct forward_spec {
	bool listen_unix;
	char path[108];      /* unix: where we listen */
	char host[256];      /* TCP: without brackets */
	uint16_t port;       /* 0: any */
	char upstream[512];  /* "host:port" or "unix:/path": what the guest dials */
};
/* One spec of §4.5. 0, or -EINVAL/-ENAMETOOLONG with the reason in f. */
int forward_spec_parse(struct forward_spec *s, const char *text, struct fault *f);

/* Listens for all specs, prints a line for each, and serves until SIGINT, SIGTERM or SIGHUP. An exit code; errors are said. */
int forward_run(const struct remote *r, const char *vm, const struct forward_spec *specs, unsigned n);

#endif
