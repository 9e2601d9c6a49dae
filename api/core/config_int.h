/* Between the config*.c files: one check in progress. */
#ifndef API_CORE_CONFIG_INT_H
#define API_CORE_CONFIG_INT_H

#include "api/core/config.h"
#include "api/core/config_keys.h"

struct checking {
	struct config *c;
	const struct keys_config *k;
	const struct config_host *host;
	struct fault *f;
	bool by_api; /* one group from the API: c is made for this check, its last group is the new one */
};

/* "file:line: NOTE text" (without file: the text), kept for the operator; silently dropped when there are too many or no memory. */
void config_note(struct checking *x, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* What the whole list of groups must keep: names, number of VMs, networks. */
int config_check_total(struct checking *x, unsigned line);                                        /* config.c */
int config_check_group(struct checking *x, const struct keys_group *k, struct host_group *g);     /* config_group.c */
int config_check_network(struct checking *x, const struct keys_group *k, struct host_group *g);   /* config_net.c */
int config_check_isolated(struct checking *x, const struct keys_group *k, struct host_group *g);  /* config_iso.c */
int config_check_policy(struct checking *x, const struct keys_network *k, struct host_group *g); /* config_policy.c; for mode isolated */
int config_check_disks(struct checking *x, const struct keys_group *k, struct host_group *g);     /* config_disks.c */
int config_check_publish(struct checking *x, const struct keys_group *k, struct host_group *g);  /* config_publish.c */
int config_check_ports(struct checking *x);                                                  /* config_publish.c: against each other and the API's */
int config_check_overlaps(struct checking *x);                                               /* config_net.c */
int config_check_files(struct checking *x, const struct keys_group *k, struct host_group *g);     /* config_file.c */
int config_check_userdata(struct checking *x, const struct keys_group *k, struct host_group *g);  /* config_file.c */
int config_check_api(struct checking *x);                                                    /* config_api.c */
#define REFUSE(x, line, ...) yaml_fault(&(x)->c->doc, line, (x)->f, __VA_ARGS__)

#endif
