/* Whole exchanges, and what a refusal means to the person at the terminal. */
#include "cli/remote.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void answer_done(struct answer *a)
{
	buf_done(&a->text);
	json_done(&a->json);
}

static int exchange(const struct remote *r, const char *method, const char *target, const struct buf *body, struct answer *out, struct fault *f)
{
	struct call *c = malloc(sizeof(*c));
	struct buf extra;
	if (!c)
		return fault_errno(f, -ENOMEM, "request");
	buf_init(&extra, 256);
	if (body)
		http_add_field(&extra, "Content-Type", "application/json");
	bool posts = strcmp(method, "GET") && strcmp(method, "HEAD") && strcmp(method, "DELETE");
	int err = call_open(c, r, method, target, body || posts ? CALL_LENGTH : CALL_NO_BODY, body ? buf_len(body) : 0, &extra, f);
	buf_done(&extra);
	if (!err) {
		if (body)
			err = call_send(c, buf_data(body), buf_len(body));
		if (!err)
			err = call_wait_head(c, f);
		if (!err)
			err = call_body(c, &out->text, f);
		out->status = c->have_head ? c->head.status : 0;
		call_done(c);
	}
	free(c);
	return err;
}

int remote_ask(const struct remote *r, const char *method, const char *target, const struct buf *body, struct answer *out)
{
	struct fault f = { 0 };
	*out = (struct answer){ 0 };
	buf_init(&out->text, REPLY_MAX);
	int err = exchange(r, method, target, body, out, &f);
	if (err) {
		buf_done(&out->text);
		return remote_broken(r, EXIT_FAIL, err, &f, "cannot talk to the daemon");
	}
	/* Some answers are plain text; who needs JSON looks at json.v. */
	if (json_parse(&out->json, buf_data(&out->text), buf_len(&out->text), REPLY_VALUES_MAX, NULL))
		out->json = (struct json){ 0 };
	return 0;
}

int remote_broken(const struct remote *r, int code, int err, const struct fault *f, const char *doing)
{
	const char *fix = "look at the daemon's output";
	char cause[1100];
	out_clean(cause, sizeof(cause), f && f->text[0] ? f->text : strerror(-err));
	if (err == -ECANCELED)
		return 130;
	const char *name = "";
	if (err == -ENOENT || err == -ECONNREFUSED) {
		fix = "is it running? start it with 'mica up', or name another with --url or --socket";
		name = " [E_NO_DAEMON]";
	} else if (err == -EACCES) {
		fix = "use sudo, or join the group that owns the socket";
		name = " [E_SOCKET_DENIED]";
	}
	if (err == -EKEYREJECTED)
		fix = "compare --fingerprint (MICA_FINGERPRINT) with what the daemon printed at its start; without TLS there, use http://";
	else if (err == -EHOSTUNREACH || err == -ETIMEDOUT)
		fix = "check the address given by --url (MICA_URL)";
	return out_error(code, cause, fix, "%s at %s%s", doing, r->where, name);
}

void remote_error_text(const struct buf *text, char *dst, size_t cap)
{
	struct json j;
	const char *s = NULL;
	char raw[1024];
	snprintf(dst, cap, "the daemon gave no reason");
	if (!json_parse(&j, buf_data(text), buf_len(text), 1000, NULL)) {
		if (!json_get_str(json_root(&j), "error", &s) || !json_get_str(json_root(&j), "message", &s))
			out_clean(dst, cap, s);
		json_done(&j);
		return;
	}
	size_t n = buf_len(text) < sizeof(raw) - 1 ? buf_len(text) : sizeof(raw) - 1;
	if (!n)
		return;
	memcpy(raw, buf_data(text), n);
	raw[n] = 0;
	raw[strcspn(raw, "\r\n")] = 0;
	if (raw[0])
		out_clean(dst, cap, raw);
}

/* The daemon's sentences end in what mends it, after a colon and in the imperative: it goes where the others stand. NULL: this one does not. */
static const char *own_fix(char *cause)
{
	static const char *const begins[] = { "'mica ", "add ", "ask ", "change ", "choose ", "create ", "delete ", "fork ", "free ", "give ", "import ", "launch ",
		"leave ", "lower ", "make ", "name ", "put ", "raise ", "relaunch ", "remove ", "resume ", "revoke ", "set ", "shut ", "stop ", "try ", "update ", "use ",
		"wait " };
	for (char *p = cause; (p = strstr(p, ": ")); p++) /* as many as the sentence has */
		for (size_t i = 0; i < ARRAY_LEN(begins); i++)
			if (!strncmp(p + 2, begins[i], strlen(begins[i])) && !strstr(p, "[E_")) {
				*p = 0;
				return p + 2;
			}
	return NULL;
}

int remote_refused(const struct remote *r, int code, int status, const struct buf *text, const char *doing)
{
	static const struct {
		int status;
		const char *fix;
	} fixes[] = {
		{ 400, "change the request; --help shows what is allowed" },
		{ 401, "give the daemon's token: --token-file /var/lib/mica/auth/token (MICA_TOKEN_FILE), as a user who may read it" },
		{ 403, "a VM from the config's count belongs to the config: change the file, or shut it down instead" },
		{ 404, "'mica vm list' shows what there is" },
		{ 408, "look at 'mica vm logs', or give a longer --timeout" },
		{ 409, "'mica vm list' shows how VMs stand, 'mica vm describe VM' one in full" },
		{ 501, "this daemon cannot do that; 'mica info' shows its version" },
		{ 503, "'mica vm logs' shows the console; try again in a moment" },
		{ 507, "make room on the host's disk" },
	};
	char cause[1024];
	const char *fix = "look at the daemon's output", *own;
	remote_error_text(text, cause, sizeof(cause));
	for (size_t i = 0; i < ARRAY_LEN(fixes); i++)
		if (fixes[i].status == status)
			fix = fixes[i].fix;
	if (status == 401 && r->token[0])
		fix = "the token is not this daemon's, or is no longer good: compare --token or --token-file with the daemon's auth/token file";
	if (status == 403 && strncmp(cause, "this token", 10) == 0)
		fix = "use a token that may: 'mica token create --help' tells what there is";
	own = status == 401 ? NULL : own_fix(cause);
	if (own)
		fix = own;
	return out_error(code, cause, fix, "%s (HTTP %d)%s", doing, status, status == 401 ? " [E_TOKEN_REFUSED]" : "");
}

/* ---- VMs by name ---- */

int vm_name_take(char out[VM_NAME_MAX], const char *given)
{
	size_t n = strlen(given);
	bool bad = !n || n >= VM_NAME_MAX || strchr(given, '/') || !strcmp(given, ".") || !strcmp(given, "..") || !strcmp(given, "commits");
	for (size_t i = 0; i < n && !bad; i++)
		bad = (unsigned char)given[i] < 0x21 || given[i] == 0x7f;
	if (bad) {
		char shown[64];
		out_clean(shown, sizeof(shown), given);
		return out_error(EXIT_USAGE, "a VM is named like vm-1, or by its friendly name", "'mica vm list' shows the names", "'%s' is no VM name", shown);
	}
	memcpy(out, given, n + 1);
	return 0;
}

void vm_target(struct buf *b, const char *name, const char *tail)
{
	buf_adds(b, "/vm/");
	http_escape(b, name);
	buf_adds(b, tail);
}

int remote_friendly(const struct remote *r, const char *name, char out[VM_NAME_MAX])
{
	char tag[VM_NAME_MAX + 8];
	struct buf target;
	struct answer a = { 0 };
	struct fault f;
	const char *hostname = NULL;
	bool first = true;
	snprintf(tag, sizeof(tag), "name=%s", name);
	buf_init(&target, 4096);
	buf_adds(&target, "/nodes");
	http_add_param(&target, &first, "tag", tag);
	buf_init(&a.text, REPLY_MAX);
	int found = 0;
	if (!exchange(r, "GET", buf_cstr(&target), NULL, &a, &f) && a.status == 200 &&
	    !json_parse(&a.json, buf_data(&a.text), buf_len(&a.text), REPLY_VALUES_MAX, NULL)) {
		const struct json_val *list = json_root(&a.json);
		if (list->kind == JSON_ARRAY && list->count == 1 && !json_get_str(json_first(list), "hostname", &hostname) && strlen(hostname) < VM_NAME_MAX) {
			strcpy(out, hostname);
			found = 1;
		}
	}
	answer_done(&a);
	buf_done(&target);
	return found;
}

int vm_ask_any(const struct remote *r, const char *method, char name[VM_NAME_MAX], const char *tail, const struct buf *body, struct answer *out,
	       const char *doing)
{
	struct buf target;
	buf_init(&target, HTTP_TARGET_MAX);
	int code = 0;
	for (int round = 0; round < 2; round++) {
		buf_clear(&target);
		vm_target(&target, name, tail);
		const char *t = buf_cstr(&target);
		if (!t) {
			code = out_error(EXIT_USAGE, "the request would not fit into one line", "use shorter arguments", "%s", doing);
			break;
		}
		code = remote_ask(r, method, t, body, out);
		if (code || out->status != 404 || round || !remote_friendly(r, name, name))
			break;
		answer_done(out);
	}
	buf_done(&target);
	return code;
}

int vm_ask(const struct remote *r, const char *method, char name[VM_NAME_MAX], const char *tail, const struct buf *body, struct answer *out,
	   const char *doing)
{
	int code = vm_ask_any(r, method, name, tail, body, out, doing);
	if (code || out->status < 300)
		return code;
	code = remote_refused(r, EXIT_FAIL, out->status, &out->text, doing);
	answer_done(out);
	return code;
}

int vm_only(const struct remote *r, char out[VM_NAME_MAX])
{
	struct answer a;
	const char *hostname = NULL;
	int code = remote_ask(r, "GET", "/nodes", NULL, &a);
	if (code)
		return code;
	const struct json_val *list = json_root(&a.json);
	if (a.status != 200)
		code = remote_refused(r, EXIT_FAIL, a.status, &a.text, "cannot list the VMs");
	else if (!list || list->kind != JSON_ARRAY || list->count != 1)
		code = out_error(EXIT_USAGE, list && list->count ? "there are several VMs" : "there is no VM", list && list->count
			? "name one; 'mica vm list' shows them" : "make one with 'mica vm launch'",
				 "which VM?");
	else if (json_get_str(json_first(list), "hostname", &hostname))
		code = out_error(EXIT_FAIL, "an entry has no hostname", "'mica info' shows the daemon's version", "the daemon's list makes no sense");
	else
		code = vm_name_take(out, hostname);
	answer_done(&a);
	return code;
}

int group_only(const struct remote *r, char out[VM_NAME_MAX])
{
	struct answer an;
	const char *name = NULL;
	int code = remote_ask(r, "GET", "/hostgroup", NULL, &an);
	if (code)
		return code;
	const struct json_val *list = json_root(&an.json);
	if (an.status != 200)
		code = remote_refused(r, EXIT_FAIL, an.status, &an.text, "cannot list the host groups");
	else if (!list || list->count != 1 || json_get_str(json_first(list), "name", &name) || strlen(name) >= VM_NAME_MAX)
		code = out_error(EXIT_USAGE, list && list->count ? "the daemon has several host groups" : "the daemon has no host group",
				 list && list->count ? "name one: 'mica vm group' shows them" : "add one to its config", "which host group?");
	else
		strcpy(out, name);
	answer_done(&an);
	return code;
}
