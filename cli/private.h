/* cli/private: one VM of our own with no daemon: a private, ephemeral stack in a temporary folder, spoken to over its socket.
 * Used by run and doctor. Everything is gone after private_stop(), and also when this process dies. Room card: cli.h. */
#ifndef CLI_PRIVATE_H
#define CLI_PRIVATE_H

#include "cli/remote.h"
#include "cli/stack.h"

struct private_ask {
	uint64_t cpus, ram_mb;
	uint64_t disk_bytes;     /* 0: the default */
	bool net;                /* with a bridge and a way out; needs root */
	const char *kvm;         /* device path */
	const char *kernel;      /* "min", "full"; NULL: what the route boots */
	enum route force;        /* ROUTE_NONE: as probed */
	uint64_t timeout_ms;     /* until its agent answers; 0: what fits the route */
};
struct private_vm {
	struct parts parts;
	struct host_kvm host;
	struct stack stack;
	struct remote remote;    /* cancel_fd is set: Ctrl-C ends waiting with -ECANCELED */
	char folder[512];        /* temporary; "" when there is none */
	int folder_fd;           /* owned; locked while we live: see private_sweep */
	char vm[VM_NAME_MAX];
	int log_fd;              /* owned; what the processes said */
	int cancel_fd;           /* owned */
	struct private_times {
		uint64_t unpack_probe_ms, daemon_ms, ready_ms;
	} ms;
};
/* 0, or EXIT_OURS after saying why (130 when cancelled). private_stop() is needed in any case. */
int private_start(struct private_vm *p, const struct private_ask *ask);
/* The first half alone: opens this file's parts and probes KVM. */
int private_probe(struct private_vm *p, const struct private_ask *ask);
void private_stop(struct private_vm *p);
/* Removes folders that killed runs left behind in $TMPDIR: ours by name and owner, locked by nobody. private_start() does it. */
void private_sweep(void);
/* A folder in $TMPDIR that only we can enter, locked as long as *fd (owned by the caller) is open. 0 or -errno; path then says where. */
int private_folder(char path[512], int *fd);

#endif
