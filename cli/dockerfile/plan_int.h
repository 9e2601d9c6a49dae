/* Inside cli/dockerfile only: the walk through a Dockerfile that plan.c does and files.c and words.c serve. */
#ifndef CLI_DOCKERFILE_PLAN_INT_H
#define CLI_DOCKERFILE_PLAN_INT_H

#include "cli/dockerfile/dockerfile.h"

#define PATH_BYTES_MAX 4096u

struct planning {
	struct df_plan *p;
	const struct df_file *d;
	const struct df_ask *ask;
	struct fault *f;
	struct df_list global;    /* ARG before FROM, and what is always there */
	struct df_list declared;  /* names, for what is unused */
	/* of the stage that is walked through */
	struct df_stage *s;
	struct df_list args;      /* NAME=VALUE */
	bool own_cmd;             /* this stage has a CMD */
	unsigned first[DF_STAGES_MAX], end[DF_STAGES_MAX]; /* its instructions */
};

/* plan.c */
int plan_no_memory(const struct planning *g);
/* A word with its variables and quotes resolved; caller frees. NULL after a sentence. global: as before the first FROM. */
char *plan_expand(struct planning *g, const struct df_step *s, const char *word, bool global);
int plan_split(struct planning *g, const struct df_step *s, struct df_list *out); /* the instruction's words as they stand */
int plan_words(struct planning *g, const struct df_step *s, struct df_list *out); /* expanded */
char *plan_one_word(struct planning *g, const struct df_step *s, const char *what); /* that must be there; NULL after a sentence */
int plan_set(struct planning *g, char **at, char *taken); /* taken NULL: the error that was said, or no memory */
int plan_stage(const struct df_plan *p, unsigned before, const char *name); /* an earlier one, by name or number; -1 */
extern const char *const plan_proxies[]; /* build arguments that need no ARG; ends with NULL */

/* files.c: instructions that change files. */
int take_run(struct planning *g, const struct df_step *s);
int take_copy(struct planning *g, const struct df_step *s); /* ADD, too */
int take_workdir(struct planning *g, const struct df_step *s);
int plan_shell(struct planning *g, struct df_list *argv, const char *script);

/* words.c: those that are only remembered. */
int take_words(struct planning *g, const struct df_step *s);

#endif
