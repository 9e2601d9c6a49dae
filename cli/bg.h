/* cli/bg: what the verbs on commands in the background share. Room card: cli.h. */
#ifndef CLI_BG_H
#define CLI_BG_H

#include "cli/answer.h"

#define BG_TAIL_MAX 512

int bg_check_id(const char *id); /* 0, or EXIT_USAGE after saying so */
/* Says what a refusal means here, frees the answer. Returns code. */
int bg_refused(const struct remote *r, int code, struct answer *an, const char *doing);
/* pos[0] is the VM, all behind it are ids; connects. 0, or EXIT_* after saying why. */
int bg_begin(struct args *a, struct remote *r, char vm[VM_NAME_MAX]);
/* One call about a command: method /vm/<vm>/exec/<id><what>. 0 with the answer; else 130 when it was cancelled, or code, after saying that
 * one cannot <verb> it. */
int bg_ask(const struct remote *r, char vm[VM_NAME_MAX], const char *method, const char *id, const char *what, const struct buf *body, int code,
	   const char *verb, struct answer *an);

#endif
