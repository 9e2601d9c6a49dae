/* vmm/back/vtable: streams by their ports, the budget, the list of what is to do. */
#include "tests/unit/tap.h"
#include "vmm/back/vtable.h"

#include <stdlib.h>

#define MAX 3000u

static struct vtable t;
static struct vstream *s[MAX];

static void test_many(void)
{
	bool found = true;
	uint64_t granted = 0;
	unsigned big = 0;

	vtable_init(&t, MAX, MAX * 100u + 50u * 900u, 100, 1000);
	for (unsigned i = 0; i < MAX; i++) {
		s[i] = vtable_add(&t, i % 7, 1000 + i);
		if (!s[i])
			abort();
		granted += s[i]->buf_alloc;
		big += s[i]->buf_alloc == 1000;
	}
	ok(!vtable_add(&t, 9, 9), "no more than the maximum");
	ok(granted == t.granted_bytes && granted <= t.budget_bytes && big == 50, "within the budget: %u large ones", big);
	for (unsigned i = 0; i < MAX; i++)
		found = found && vtable_find(&t, i % 7, 1000 + i) == s[i];
	ok(found && !vtable_find(&t, 8, 1000), "each is found, others are not");
	vtable_unhash(&t, s[5]);
	vtable_unhash(&t, s[5]);
	ok(!vtable_find(&t, 5, 1005) && t.streams == MAX, "unhashed: not found, still counted");
	for (unsigned i = 0; i < MAX; i += 2)
		vtable_remove(&t, s[i]);
	found = true;
	for (unsigned i = 1; i < MAX; i += 2)
		found = found && (i == 5 || vtable_find(&t, i % 7, 1000 + i) == s[i]);
	ok(found && t.streams == MAX / 2, "half removed");
	for (unsigned i = 1; i < MAX; i += 2)
		vtable_remove(&t, s[i]);
	ok(t.streams == 0 && t.granted_bytes == 0 && !t.all, "all removed");
}

static void test_ports(void)
{
	uint32_t a = vtable_free_port(&t, 1), b;

	s[0] = vtable_add(&t, a, 1);
	t.next_port = a;
	b = vtable_free_port(&t, 1);
	ok(a >= 0x40000000 && b == a + 1, "a port that is taken is not given again");
	t.next_port = UINT32_MAX - 1;
	ok(vtable_free_port(&t, 1) == UINT32_MAX - 1 && vtable_free_port(&t, 1) == a + 1 - (a > 0x40000000 ? a - 0x40000000 : 0), "round at the end");
	vtable_remove(&t, s[0]);
}

static void test_todo(void)
{
	for (unsigned i = 0; i < 4; i++) {
		s[i] = vtable_add(&t, i, i);
		vtable_todo_add(&t, s[i]);
		vtable_todo_add(&t, s[i]);
	}
	ok(t.todo == s[0] && s[0]->todo_next == s[1], "in order, once");
	vtable_todo_del(&t, s[1]);
	vtable_todo_del(&t, s[1]);
	ok(s[0]->todo_next == s[2], "one from the middle");
	vtable_remove(&t, s[3]);
	vtable_todo_add(&t, s[1]);
	ok(s[2]->todo_next == s[1] && !s[1]->todo_next, "behind the last, after the last one went");
	vtable_todo_del(&t, s[0]);
	ok(t.todo == s[2], "the first");
	for (unsigned i = 0; i < 3; i++)
		vtable_remove(&t, s[i]);
	ok(!t.todo && t.todo_tail == &t.todo, "empty");
}

int main(void)
{
	test_many();
	test_ports();
	test_todo();
	return tap_done();
}
