#include "cli/bg.h"
#include "cli/out.h"

#include <stdio.h>
#include <string.h>

int bg_check_id(const char *id)
{
	char shown[80];
	size_t n = strlen(id);
	if (!strncmp(id, "ex_", 3) && n > 3 && n <= 64 && strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n)
		return 0;
	out_clean(shown, sizeof(shown), id);
	return out_error(EXIT_USAGE, "an id looks like ex_1f0a…", "'mica vm bg list VM' shows them", "'%s' is no id of a command in the background", shown);
}

int bg_refused(const struct remote *r, int code, struct answer *an, const char *doing)
{
	static const struct { int status; const char *fix; } fixes[] = {
		{ 404, "'mica vm list' shows the VMs, 'mica vm bg list VM' their commands" },
		{ 409, "'mica vm bg kill' ends a command that runs; 'mica vm resume' lets a paused VM go on" },
		{ 410, "its record was removed: nothing of it is left" },
		{ 503, "'mica vm bg remove' those that have ended: their output holds the memory; or give --ring-bytes" },
	};
	char cause[1024];
	int status = an->status;
	for (size_t i = 0; i < ARRAY_LEN(fixes); i++)
		if (fixes[i].status == status) {
			remote_error_text(&an->text, cause, sizeof(cause));
			answer_done(an);
			return out_error(code, cause, fixes[i].fix, "%s (HTTP %d)", doing, status);
		}
	code = remote_refused(r, code, status, &an->text, doing);
	answer_done(an);
	return code;
}

int bg_ask(const struct remote *r, char vm[VM_NAME_MAX], const char *method, const char *id, const char *what, const struct buf *body, int code,
	       const char *verb, struct answer *an)
{
	char tail[BG_TAIL_MAX], doing[VM_NAME_MAX + 128];
	snprintf(tail, sizeof(tail), "/exec/%s%s", id, what);
	snprintf(doing, sizeof(doing), "cannot %s %s in %s", verb, id, vm);
	int failed = vm_ask_any(r, method, vm, tail, body, an, doing);
	if (failed)
		return failed == 130 ? failed : code;
	return an->status >= 300 ? bg_refused(r, code, an, doing) : 0;
}

int bg_begin(struct args *a, struct remote *r, char vm[VM_NAME_MAX])
{
	int code = vm_name_take(vm, a->pos[0]);
	for (int i = 1; i < a->n_pos && !code; i++)
		code = bg_check_id(a->pos[i]);
	return code ? code : remote_init(r, a);
}
