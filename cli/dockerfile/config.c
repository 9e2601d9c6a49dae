#include "cli/dockerfile/dockerfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int df_config_copy(struct df_config *to, const struct df_config *from)
{
	struct df_list *const lists[] = { &to->env, &to->labels, &to->entrypoint, &to->cmd, &to->exposed, &to->volumes, &to->shell };
	const struct df_list *const olds[] = { &from->env, &from->labels, &from->entrypoint, &from->cmd, &from->exposed, &from->volumes, &from->shell };
	int err = 0;
	for (size_t i = 0; i < ARRAY_LEN(lists) && !err; i++)
		err = df_list_copy(lists[i], olds[i]);
	if (!err)
		err = copy_text(&to->workdir, from->workdir);
	if (!err)
		err = copy_text(&to->user, from->user);
	if (!err)
		err = copy_text(&to->stop_signal, from->stop_signal);
	return err ? err : copy_text(&to->healthcheck, from->healthcheck);
}

void df_config_done(struct df_config *c)
{
	struct df_list *const lists[] = { &c->env, &c->labels, &c->entrypoint, &c->cmd, &c->exposed, &c->volumes, &c->shell };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		df_list_done(lists[i]);
	free(c->workdir);
	free(c->user);
	free(c->stop_signal);
	free(c->healthcheck);
	*c = (struct df_config){ 0 };
}
