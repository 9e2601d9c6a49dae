/* cli/forward: the sockets it listens on. Room card: cli.h. */
#ifndef CLI_FORWARD_LISTEN_H
#define CLI_FORWARD_LISTEN_H

#include "cli/forward.h"

#define FORWARD_WHERE_MAX 300
/* A listening socket, non-blocking; where: "127.0.0.1:9001" or the path, with the port that was found. fd, or -errno and f. */
int forward_listen(const struct forward_spec *s, char where[FORWARD_WHERE_MAX], struct fault *f);
/* Closes *fd and removes the unix socket's file. */
void forward_unlisten(const struct forward_spec *s, int *fd);

#endif
