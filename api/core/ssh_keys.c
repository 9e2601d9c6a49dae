#include "api/core/ssh_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/timers.h"
#include "api/core/vm.h"
#include "lib/wire/agent.h"

#define FILE_NAME "ssh_keys"

int ssh_keys_write(const struct vm *vm)
{
	if (!vm->ssh_keys)
		return 0;
	AUTO_FD fd = openat(vm->dir_fd, FILE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : write_full(fd, vm->ssh_keys, strlen(vm->ssh_keys));
}

static void on_taken(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	if (m) /* once, also when it cannot: the next boot would hear the same */
		unlinkat(vm->dir_fd, FILE_NAME, 0);
	if ((!m || m->type != WIRE_OK) && vm->state == VM_RUNNING) {
		peer_result(m, "the agent", &f, NULL);
		core_say(vm->core, "NOTE", "%s: SSH keys were not taken: %s", vm->r.name, f.text);
	}
	vm->secrets_busy = false;
	vm_sync_secrets(vm);
}

bool ssh_keys_send(struct vm *vm)
{
	char *text = NULL;
	struct buf b;
	size_t n, mark;
	int err = read_file_at(vm->dir_fd, FILE_NAME, SSH_KEYS_BYTES_MAX, &text, &n);

	if (err == -ENOENT)
		return false;
	buf_init(&b, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	if (!err) {
		mark = wire_begin(&b, A_SSH_KEYS, 1);
		wire_bytes(&b, A_T_DATA, text, n);
		err = wire_end(&b, mark);
	}
	if (!err)
		err = agent_ask(vm, &b, AGENT_ASK_MS, on_taken);
	if (err)
		core_say(vm->core, "NOTE", "%s: SSH keys could not be sent: %s", vm->r.name, strerror(-err));
	buf_done(&b);
	free(text);
	vm->secrets_busy = !err;
	return !err;
}
