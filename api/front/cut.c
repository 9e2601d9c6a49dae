/* A token is no more (C_CUT): what is under way for it ends, each answer so that its reader sees that it was cut. */
#include <string.h>
#include "api/front/front.h"

const char cut_text[] = "the token was revoked or has expired";

static void cut(struct req *r)
{
	const struct agent_ops *ops = r->agent.ops;

	if (ops && ops->cut)
		ops->cut(r);
	else if (r->replied)
		conn_break(r->conn); /* without an end of its body */
	else
		reply_error(r, 401, "%s", cut_text);
	stream_close(r); /* and with it what the agent does for it */
}

void front_cut(struct front *f, const struct wire_msg *m)
{
	struct wire_field auth;
	struct conn *next;

	if (!wire_get(m, C_T_AUTH, &auth) || auth.n != sizeof(((struct req *)0)->auth))
		return;
	for (struct conn *c = f->conns; c; c = next) {
		struct req *r = c->req;

		next = c->next;
		if (!r || r->ended || !r->has_auth || !auth_needed(r) || !equal_consttime(r->auth, auth.p, auth.n))
			continue;
		cut(r);
		conn_settle(c);
	}
}
