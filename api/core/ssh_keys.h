/*
 * SSH keys for a VM's default user: the file's ssh_keys and those of the one who made the VM, as lines. They wait in the VM's folder, file
 * ssh_keys, until its agent has taken them once; after that they are the guest's own.
 */
#ifndef API_CORE_SSH_KEYS_H
#define API_CORE_SSH_KEYS_H

#include "api/core/ssh_line.h"

struct vm;
/* In the helper child that makes its files: vm->ssh_keys into its folder. */
int ssh_keys_write(const struct vm *vm);
/* Offers them to the agent when it has not taken them. true: the answer is awaited, vm_sync_secrets() follows it. */
bool ssh_keys_send(struct vm *vm);

#endif
