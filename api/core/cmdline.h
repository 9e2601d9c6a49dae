/* The guest kernel's command line: the one place that knows. The emulated flavour brings its own words, built in. */
#ifndef API_CORE_CMDLINE_H
#define API_CORE_CMDLINE_H

#include "api/core/vm.h"

/* 0 or -EMSGSIZE. */
int cmdline_make(const struct vm *vm, bool with_network, char *out, size_t cap);

#endif
