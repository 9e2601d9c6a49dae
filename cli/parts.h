/*
 * cli/parts: where the other programs, the kernels and the guest image come from: the payload of this very file, or, in a
 * developer's tree, the files beside bin/mica. Also: what this host's KVM can do, asked of `vmm --probe`. Room card: cli.h.
 */
#ifndef CLI_PARTS_H
#define CLI_PARTS_H

#include "cli/payload.h"

/* Names: "core" "front" "netd" "gate" "jail" "vmm" (programs), "kernel-min" "kernel-emulated" and, in some builds, KERNEL_FULL; "image-min". */
#define KERNEL_FULL "kernel-full"
struct parts {
	int self;               /* owned: this program's file */
	bool packed;
	struct payload payload; /* when packed */
	char folder[4096];      /* else: where bin/mica is */
};
/* 0 or -errno with f. */
int parts_open(struct parts *p, struct fault *f);
void parts_done(struct parts *p);
/* A read-only (programs: executable) descriptor, or -errno with f; -ENOENT: this build has none. */
int part_fd(const struct parts *p, const char *name, struct fault *f);
bool part_has(const struct parts *p, const char *name);

/* ---- this host ---- */

enum route { ROUTE_NONE, ROUTE_HARDWARE, ROUTE_EMULATED };
struct host_kvm {
	enum route route;
	char reason[512];    /* for people */
	char json[1024];     /* what the probe printed */
	const char *code;    /* route none: of codes.h, and three lines … */
	char problem[256];
	char fix[512];
	uint64_t open_us, probe_us;
};
/* Opens the device and asks `vmm --probe`. Always fills *k. 0; -errno when no guest can run (problem, reason, fix say why). */
int host_kvm_probe(const struct parts *p, const char *kvm_path, struct host_kvm *k);
const char *route_name(enum route r); /* "hardware" "emulated" "none" */
const char *route_kernel(enum route r); /* the kernel's part name */

#endif
