/* A stream into a guest ended before its time. Who went away, the agent or the VM under it? Core is asked for another stream, with
 * the client's own right: its answer tells. */
#include <stdio.h>
#include "api/front/front.h"

#define ASKS_MAX 2u      /* core may learn of a VM's end after we have */
#define ANSWER_MS 5000u

static void ask_again(struct req *r);

static void tell(struct req *r, const char *code, const char *why)
{
	char text[600];

	ask_drop(r);
	r->deadline_ms = 0;
	if (why)
		snprintf(text, sizeof(text), "the VM ended before the command did, whose result is not known: %s", why);
	else
		snprintf(text, sizeof(text), "the agent was lost before the command ended: its result is not known");
	r->loss.told(r, code, text);
}

static void no_answer(struct req *r)
{
	tell(r, "agent_lost", NULL);
}

static void answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	char why[400] = "it is not there any more";
	uint64_t status = 0;

	(void)fds;   /* a new stream, should the agent be back: it is closed */
	(void)n_fds;
	wire_get_u64(m, WIRE_T_STATUS, &status);
	if (m->type == WIRE_ERR && (status == 404 || status == 409)) { /* 409: it is stopped; a paused one ends no stream */
		wire_get_str(m, WIRE_T_TEXT, why, sizeof(why));
		tell(r, "vm_lost", why);
	} else if (r->loss.asks < ASKS_MAX) {
		r->deadline_ms = now_mono_ms(); /* with the next sweep */
		r->on_deadline = ask_again;
	} else {
		tell(r, "agent_lost", NULL);
	}
}

static void ask_again(struct req *r)
{
	struct buf *b;

	r->loss.asks++;
	r->deadline_ms = now_mono_ms() + ANSWER_MS;
	r->on_deadline = no_answer;
	b = ask_begin(r, C_CONNECT);
	wire_str(b, C_T_VM, r->vars[0]);
	wire_u64(b, C_T_QUIET, 1);
	if (ask_try(r, answer))
		tell(r, "agent_lost", NULL);
}

void loss_find(struct req *r, loss_fn *told)
{
	stream_close(r);
	r->loss.told = told;
	r->loss.asks = 0;
	ask_again(r);
}
