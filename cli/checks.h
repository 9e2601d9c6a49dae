/*
 * cli/checks: what `doctor` and `support-bundle` look at beside KVM: each is tried, in a child where it would change us. Room card: cli.h.
 */
#ifndef CLI_CHECKS_H
#define CLI_CHECKS_H

#define CHECKS_MAX 16u

enum check_state { CHECK_GOOD, CHECK_LESS /* VMs run, with less around them */, CHECK_BAD /* VMs do not run */ };
struct check {
	const char *name;
	enum check_state state;
	const char *code; /* of codes.h; NULL when good */
	char found[200];
};
/* Fills at most CHECKS_MAX; how many. state: the daemon's folder, may be missing; "": not looked at. */
unsigned checks_run(struct check *out, const char *state);
/* Where root did not start us: a note on stderr of what VMs go without, beside the network. */
void checks_note_rootless(void);
const char *check_word(enum check_state s); /* "ok" "less" "bad" */

#endif
