/*
 * cli/codes: the names of faults. A sentence about a fault that somebody can mend ends in its code, "… [E_PORT_USED]": that way it passes
 * unchanged through core's status lines, frames between processes and the API's plain-text bodies. The command line shows it at the end of
 * the line "error:", takes it out of "cause:", and has the way to mend it in one table. Codes stay: scripts may look for them. Room card: cli.h.
 */
#ifndef CLI_CODES_H
#define CLI_CODES_H

#include <stdbool.h>
#include <stddef.h>

#define CODE_MAX 32u

struct code_row {
	const char *code;
	const char *cause; /* in general; an error's own "cause:" says more */
	const char *fix;
};
extern const struct code_row codes[]; /* ends with a row without code */

const struct code_row *code_find(const char *code); /* NULL: none */
/* Takes the last " [E_X]" out of text into out; false ("" in out): it holds none. */
bool code_take(char *text, char out[CODE_MAX]);

#endif
