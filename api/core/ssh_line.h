/* Lines of an authorized_keys file, gathered. No files, no VMs: the configuration stands on it too. */
#ifndef API_CORE_SSH_LINE_H
#define API_CORE_SSH_LINE_H

#include "lib/base/buf.h"

#define SSH_KEYS_BYTES_MAX 32768u /* of one VM: fits one frame */

/* One more line. 0; -EINVAL: it is none; -ENOBUFS: with it they are too much; -ENOMEM. */
int ssh_keys_add(struct buf *lines, const char *key, size_t n);

#endif
