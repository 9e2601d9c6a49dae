/* Rules out of a network record: what becomes an entry, and that nothing a guest could have put there becomes YAML. */
#include <string.h>

#include "cli/learn.h"
#include "tests/unit/tap.h"

static void line(struct learning *l, const char *text)
{
	learn_line(l, text, strlen(text));
}

static const struct learned *find(const struct learning *l, const char *entry)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].entry, entry))
			return &l->v[i];
	return NULL;
}

int main(void)
{
	struct learning l = { 0 };
	const struct learned *x;
	struct buf out;

	line(&l, "{\"event\":\"start\",\"proto\":\"tcp\",\"dst\":\"1.2.3.4\",\"dport\":443,\"name\":\"example.com\",\"rule\":\"default:allow\",\"verdict\":\"allowed\"}");
	line(&l, "{\"event\":\"end\",\"proto\":\"tcp\",\"dst\":\"1.2.3.4\",\"dport\":443,\"name\":\"example.com\",\"rule\":\"default:allow\",\"verdict\":\"allowed\"}");
	line(&l, "{\"event\":\"denied\",\"proto\":\"udp\",\"dst\":\"2001:db8::1\",\"dport\":53,\"rule\":\"drop[0]\",\"verdict\":\"denied\"}");
	line(&l, "{\"event\":\"denied\",\"proto\":\"icmp\",\"dst\":\"10.0.0.1\",\"icmp_type\":8,\"rule\":\"builtin:lan\",\"verdict\":\"denied\"}");
	line(&l, "{\"event\":\"dns\",\"name\":\"example.com\",\"rule\":\"default:allow\",\"verdict\":\"allowed\"}");
	line(&l, "{\"event\":\"dns\",\"name\":\"only.asked.org\",\"rule\":\"default:deny\",\"verdict\":\"denied\"}");
	line(&l, "{\"event\":\"gap\",\"lost\":7}");
	line(&l, "{\"event\":\"dns\",\"name\":\"x\\\"\\n  - 0.0.0.0/0 # .com\",\"verdict\":\"denied\"}");
	line(&l, "{\"event\":\"denied\",\"proto\":\"tcp\",\"dst\":\"x: y\",\"dport\":1,\"rule\":\"r\",\"verdict\":\"denied\"}");
	line(&l, "{\"event\":\"denied\",\"proto\":\"tcp\",\"dst\":\"9.9.9.9\",\"dport\":1,\"rule\":\"a\\nb: c\",\"verdict\":\"denied\"}");
	line(&l, "no json");
	learn_finish(&l);
	ok(l.n == 5 && l.left_out == 7, "five entries (%zu), seven lines missing", l.n);
	x = find(&l, "example.com:443");
	ok(x && x->times == 1 && !x->denied, "a name where one led there, counted once a flow");
	ok(find(&l, "[2001:db8::1]:53") && find(&l, "9.9.9.9:1"), "addresses with their port");
	x = find(&l, "10.0.0.1");
	ok(x && x->builtin, "an echo to a private address");
	x = find(&l, "only.asked.org");
	ok(x && x->asked && !find(&l, "example.com"), "a name that was only asked for; one with flows stands by these");
	buf_init(&out, 1u << 20);
	ok(!learn_yaml(&l, "vm-1", &out) && strstr(buf_cstr(&out), "\n  # - \"10.0.0.1\"  # denied by builtin:lan") && strstr(buf_cstr(&out), "\n  - \"example.com:443\"  # allowed") &&
	   strstr(buf_cstr(&out), "lacks 7 lines"), "as YAML, what builtin rules deny as a remark");
	ok(!strstr(buf_cstr(&out), "0.0.0.0/0") && !strstr(buf_cstr(&out), "\nb: c"), "and nothing of a guest's own making");
	buf_done(&out);
	learn_done(&l);
	return tap_done();
}
