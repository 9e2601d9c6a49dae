/*
 * vmm/machine/request.h: V_BOOT as a struct (lib/wire/vmm.h says what it may hold). Everything that can be refused without KVM is refused here.
 */
#ifndef VMM_MACHINE_REQUEST_H
#define VMM_MACHINE_REQUEST_H

#include "lib/disk/disk.h"
#include "lib/wire/vmm.h"
#include "vmm/dev/net.h"

#define REQUEST_NETS_MAX 4u
#define REQUEST_ID_MAX 20u
#define REQUEST_RAM_MIN_BYTES (16ull << 20)

struct request_disk {
	struct disk_files files; /* owned until a device takes them; -1 then */
	bool read_only;
	struct shape_limit limit; /* both ways together */
	char id[REQUEST_ID_MAX + 1];
};

struct request_net {
	int fd[NET_PAIRS_MAX]; /* owned until a device takes them; n_fds 0 then */
	unsigned n_fds;
	uint8_t mac[6];
	struct shape_limit limit[SHAPE_WAYS];
};

struct boot_request {
	unsigned vcpus;
	uint64_t ram_bytes;
	char cmdline[VMM_CMDLINE_MAX];
	int kernel_fd, initrd_fd, console_fd, report_fd; /* owned; -1 when absent */
	struct request_disk disk[VMM_DISKS_MAX];
	unsigned n_disks;
	struct request_net net[REQUEST_NETS_MAX];
	unsigned n_nets;
	uint64_t cid; /* 0: no vsock */
	bool ephemeral; /* ends with core's connection */
};

/* Takes every descriptor of fds[0..n) over: into the request or closed. 0 or -errno with a sentence. */
int request_parse(struct boot_request *r, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f);
void request_done(struct boot_request *r); /* closes what is left */

#endif
