#include <string.h>
#include <unistd.h>
#include "lib/ev/ev.h"
#include "tests/unit/tap.h"

struct two {
	struct ev_loop *l;
	struct ev_io *other;
	int calls;
};
static struct ev_loop *loop;
static int order[8], order_n;

static void remove_other(struct ev_io *io, uint32_t events)
{
	struct two *t = io->arg;
	(void)events;
	t->calls++;
	ev_del(t->l, t->other);
	ev_del(t->l, io);
}

static void timer_fn(struct ev_timer *t)
{
	order[order_n++] = (int)(intptr_t)t->arg;
	if ((intptr_t)t->arg == 3)
		ev_stop(loop);
}

static void watchers(void)
{
	int a[2], b[2];
	struct two ta, tb;
	struct ev_io ia = {.fn = remove_other, .arg = &ta}, ib = {.fn = remove_other, .arg = &tb};
	if (pipe(a) || pipe(b))
		return;
	ta = (struct two){loop, &ib, 0};
	tb = (struct two){loop, &ia, 0};
	ok(ev_add(loop, &ia, a[0], EPOLLIN) == 0 && ev_add(loop, &ib, b[0], EPOLLIN) == 0, "two watchers");
	ok(ev_once(loop, 0) == 0, "nothing yet");
	ok(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1 && ev_once(loop, 100) == 2, "both are ready");
	ok(ta.calls + tb.calls == 1, "a watcher removed in the same batch is not called");
	ok(ia.fd == -1 && ib.fd == -1 && ev_once(loop, 0) == 0, "both are gone");
	ev_del(loop, &ia);
	for (int i = 0; i < 2; i++)
		close(a[i]), close(b[i]);
}

static void timers(void)
{
	struct ev_timer t[4];
	for (intptr_t i = 0; i < 4; i++)
		t[i] = (struct ev_timer){.fn = timer_fn, .arg = (void *)i};
	ev_timer_set(loop, &t[3], 40);
	ev_timer_set(loop, &t[1], 20);
	ev_timer_set(loop, &t[0], 30);
	ev_timer_set(loop, &t[2], 1);
	ev_timer_set(loop, &t[0], 5); /* set again: earlier */
	ev_timer_del(loop, &t[1]);
	ev_timer_del(loop, &t[1]);
	ok(ev_run(loop) == 0 && order_n == 3 && order[0] == 2 && order[1] == 0 && order[2] == 3, "timers run in order, a removed one does not");
}

int main(void)
{
	ok(ev_new(&loop) == 0, "a loop");
	watchers();
	timers();
	ev_free(loop);
	return tap_done();
}
