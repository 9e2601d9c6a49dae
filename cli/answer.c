#include "cli/answer.h"
#include "cli/out.h"

#include <stdio.h>

bool answer_as_json(const struct args *a, const struct answer *an)
{
	if (!arg_flag(a, "json", false))
		return false;
	size_t n = buf_len(&an->text);
	fwrite(buf_data(&an->text), 1, n, stdout);
	if (!n || buf_data(&an->text)[n - 1] != '\n')
		putchar('\n');
	return true;
}

int answer_odd(struct answer *an)
{
	answer_done(an);
	return out_error(EXIT_FAIL, "the daemon answered with something else than expected", "is this mica's API? 'mica info' shows the version",
		"cannot read the answer");
}

int answer_refused(const struct remote *r, const struct answer *an, const struct fix *fixes, size_t n, const char *doing)
{
	char cause[1024];
	for (size_t i = 0; i < n; i++)
		if (fixes[i].status == an->status) {
			remote_error_text(&an->text, cause, sizeof(cause));
			return out_error(EXIT_FAIL, cause, fixes[i].fix, "%s (HTTP %d)", doing, an->status);
		}
	return remote_refused(r, EXIT_FAIL, an->status, &an->text, doing);
}

const char *json_text(const struct json_val *v, const char *key, const char *otherwise)
{
	json_get_str(v, key, &otherwise);
	return otherwise;
}

int64_t json_int(const struct json_val *v, const char *key)
{
	int64_t n = 0;
	json_get_i64(v, key, &n);
	return n;
}

int vm_ask_first(struct args *a, struct remote *r, const char *method, const char *tail, const struct buf *body, char vm[VM_NAME_MAX], struct answer *an,
		 const char *doing)
{
	char what[VM_NAME_MAX + 64];
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(r, a);
	if (code)
		return code;
	snprintf(what, sizeof(what), "cannot %s %s", doing, vm);
	return vm_ask(r, method, vm, tail, body, an, what);
}
