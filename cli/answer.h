/* cli/answer: what most verbs do with a daemon's answer. Room card: cli.h. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "cli/remote.h"

/* When --json was given: prints the answer as it came, with a line break at its end. */
bool answer_as_json(const struct args *a, const struct answer *an);
/* Frees it; says that it makes no sense. Returns EXIT_FAIL. */
int answer_odd(struct answer *an);
/* What a verb advises when the daemon refuses with that status. */
struct fix {
	int status;
	const char *fix;
};
/* Says what a refusal means, with the fix of its status or what remote_refused says to any. Returns EXIT_FAIL. */
int answer_refused(const struct remote *r, const struct answer *an, const struct fix *fixes, size_t n, const char *doing);
/* Members of a JSON object for tables: otherwise / 0 when they are absent or of another kind. */
const char *json_text(const struct json_val *v, const char *key, const char *otherwise);
int64_t json_int(const struct json_val *v, const char *key);
/* vm_ask about the VM that pos[0] names; doing: "delete" makes "cannot delete vm-1". The whole of many verbs. */
int vm_ask_first(struct args *a, struct remote *r, const char *method, const char *tail, const struct buf *body, char vm[VM_NAME_MAX], struct answer *an,
		 const char *doing);

#endif
