/* What the kernel flavours need on their command line and of the machine: the one place that knows. */
#ifndef API_CORE_FLAVOUR_H
#define API_CORE_FLAVOUR_H

#include "lib/base/base.h"

struct vm;
struct flavour {
	const char *cmdline; /* before everything else */
	bool no_acpi;        /* V_T_NO_ACPI */
};
const struct flavour *flavour_of(const struct vm *vm);
/* The whole command line of this VM's guest. 0 or -EMSGSIZE. */
int flavour_cmdline(const struct vm *vm, bool with_network, char *out, size_t cap);

#endif
