/* Why a VM ended, for people: from vmm's words, jail's wait status and the tail of the console. */
#ifndef API_CORE_REPORT_H
#define API_CORE_REPORT_H

#include "api/core/vm.h"

/* File `report` in the VM's folder, first word the reason. 0 with malloc'ed strings, -ENOENT when it is empty or not there. */
int report_read(int dir_fd, char **reason, char **words);
/* The last lines of console.log, made printable; malloc'ed, "" when there is nothing, NULL when out of memory. */
char *report_console_tail(int dir_fd);
/* One text of at most FAULT_MAX bytes, malloc'ed; NULL when out of memory. */
char *report_compose(const struct vm *vm);

#endif
