/* The record of a VM: what is refused, what comes back as it was written, that a file is whole or not there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/record.h"
#include "tests/unit/tap.h"

#define HEAD "mica-vm=1\n"
#define REST \
	"slot=3\nip=10.0.0.2/24\nmac=02:00:00:00:00:01\nram_bytes=67108864\ndisk_bytes=1048576\ncreated_ns=7\nvcpus=2\npersistent=1\n" \
	"protected=0\nuserdata=0\nimage=min\n"
#define GOOD HEAD "name=a-1\ngroup=a\n" REST

static const struct { const char *what, *text; } bad[] = {
	{ "empty", "" },
	{ "another version", "mica-vm=2\nname=a-1\nend=1\n" },
	{ "no end", GOOD },
	{ "cut in a line", GOOD "tag=ab" },
	{ "no newline after end", GOOD "end=1" },
	{ "end is not the last line's beginning", GOOD "end=11\n" },
	{ "something behind the end", GOOD "end=1\nx" },
	{ "unknown key", GOOD "colour=red\nend=1\n" },
	{ "no equals sign", GOOD "tag\nend=1\n" },
	{ "doubled key", GOOD "slot=4\nend=1\n" },
	{ "a key is missing", HEAD "group=a\n" REST "end=1\n" },
	{ "bad name", HEAD "name=../x\ngroup=a\n" REST "end=1\n" },
	{ "escaped newline in a name", HEAD "name=a\\n1\ngroup=a\n" REST "end=1\n" },
	{ "escape of nothing", GOOD "tag=a\\\nend=1\n" },
	{ "unknown escape", GOOD "tag=a\\q\nend=1\n" },
	{ "escaped NUL", GOOD "tag=a\\x00\nend=1\n" },
	{ "short escape", GOOD "tag=a\\x0\nend=1\n" },
	{ "control character", GOOD "tag=a\tb\nend=1\n" },
	{ "control character in disguise", GOOD "tag=a\\x09b\nend=1\n" },
	{ "empty tag", GOOD "tag=\nend=1\n" },
	{ "not UTF-8", GOOD "tag=\xff\nend=1\n" },
	{ "no name of a secret", GOOD "secrets=.a\nend=1\n" },
	{ "a slash in one", GOOD "secrets=a ../b\nend=1\n" },
	{ "a blank too many", GOOD "secrets=a  b\nend=1\n" },
	{ "a blank at the end", GOOD "secrets=a \nend=1\n" },
	{ "secrets twice", GOOD "secrets=a\nsecrets=a\nend=1\n" },
	{ "a long name", GOOD "secrets=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nend=1\n" },
};

static const struct { const char *key, *value; } bad_values[] = {
	{ "slot", "65536" }, { "slot", "-1" }, { "slot", "" }, { "slot", "1x" }, { "ip", "10.0.0.2" }, { "ip", "x" }, { "mac", "02:00:00:00:00" },
	{ "mac", "02:00:00:00:00:0g" }, { "ram_bytes", "18446744073709551616" }, { "disk_bytes", "9223372036854775808" }, { "vcpus", "256" },
	{ "persistent", "2" }, { "persistent", "yes" },
};

static void test_refusals(void)
{
	struct record r;
	struct fault f;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		f.text[0] = 0;
		ok(record_parse(&r, bad[i].text, strlen(bad[i].text), &f) == -EINVAL && f.text[0] && !r.n_tags, "refused: %s: %s", bad[i].what, f.text);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_values); i++) {
		char text[600] = HEAD "name=a-1\ngroup=a\n", rest[] = REST;
		char *save = NULL, *line;

		for (line = strtok_r(rest, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			size_t n = strlen(bad_values[i].key), at = strlen(text);
			bool it = strncmp(line, bad_values[i].key, n) == 0 && line[n] == '=';

			snprintf(text + at, sizeof(text) - at, it ? "%s=%s\n" : "%s\n", it ? bad_values[i].key : line, bad_values[i].value);
		}
		strcat(text, "end=1\n");
		ok(record_parse(&r, text, strlen(text), &f) == -EINVAL, "refused: %s=%s", bad_values[i].key, bad_values[i].value);
	}
	ok(record_parse(&r, GOOD "\0end=1\n", sizeof(GOOD "\0end=1\n") - 1, &f) == -EINVAL, "refused: NUL byte");
}

static void fill(struct record *r)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->name, "demo-12");
	strcpy(r->group, "demo");
	strcpy(r->ip, "192.168.137.2/24");
	strcpy(r->image, "/srv/a\\b c.img");
	memcpy(r->mac, "\x02\x01\x02\xfe\xff\x05", 6);
	r->slot = 65535;
	r->ram_bytes = UINT64_MAX & ~4095ull;
	r->disk_bytes = 10ull << 30;
	r->created_ns = 1790000000123456789ull;
	r->vcpus = 8;
	r->persistent = true;
	strcpy(r->parent, "cmt-demox1-0123456789abcdef");
	strcpy(r->machine_id, "00112233445566778899aabbccddeeff");
	strcpy(r->guest_name, "demo-1");
	r->fixups = FIX_PENDING | FIX_HOSTNAME;
	r->fault = strdup("panic: x\nline \\ two\n\x1b");
	r->secrets = strdup("api-key b.c");
	record_add_tag(r, "a=1");
	record_add_tag(r, "Grüße \\n");
}

static void test_round(void)
{
	struct record a, b;
	struct fault f = { "" };
	struct buf text;

	fill(&a);
	buf_init(&text, RECORD_MAX);
	ok(record_format(&a, &text) == 0, "written");
	ok(record_parse(&b, (const char *)buf_data(&text), buf_len(&text), &f) == 0, "read: %s", f.text);
	ok(strcmp(a.name, b.name) == 0 && strcmp(a.group, b.group) == 0 && strcmp(a.ip, b.ip) == 0 && strcmp(a.image, b.image) == 0 &&
	   memcmp(a.mac, b.mac, 6) == 0, "texts");
	ok(a.slot == b.slot && a.ram_bytes == b.ram_bytes && a.disk_bytes == b.disk_bytes && a.created_ns == b.created_ns && a.vcpus == b.vcpus &&
	   b.persistent && !b.protected_, "numbers");
	ok(b.fixups == a.fixups && strcmp(a.parent, b.parent) == 0 && strcmp(a.machine_id, b.machine_id) == 0 && strcmp(a.guest_name, b.guest_name) == 0, "a fork's");
	ok(b.n_tags == 2 && strcmp(b.tags[1], "Grüße \\n") == 0 && b.fault && strcmp(b.fault, a.fault) == 0, "tags and last words");
	ok(b.secrets && strcmp(a.secrets, b.secrets) == 0 && record_may_have(&b, "api-key") && record_may_have(&b, "b.c") && !record_may_have(&b, "api") &&
	   !record_may_have(&b, "b") && !record_may_have(&b, ""), "secrets");
	b.secrets[0] = 0;
	ok(!record_may_have(&b, "b.c"), "no secrets");
	for (size_t n = 0; n < buf_len(&text); n++) {
		struct record c;

		if (record_parse(&c, (const char *)buf_data(&text), n, &f) == 0) {
			ok(false, "cut at %zu was taken", n);
			record_done(&c);
		}
	}
	ok(true, "cut anywhere: refused");
	buf_done(&text);
	record_done(&a);
	record_done(&b);
}

static void test_tags(void)
{
	struct record r = { 0 };
	char tag[TAG_MAX + 2];

	memset(tag, 'x', sizeof(tag));
	tag[TAG_MAX + 1] = 0;
	ok(record_add_tag(&r, tag) == -EINVAL && record_add_tag(&r, "") == -EINVAL && record_add_tag(&r, "a\nb") == -EINVAL, "no tags");
	tag[TAG_MAX] = 0;
	ok(record_add_tag(&r, tag) == 0 && record_add_tag(&r, tag) == 0 && r.n_tags == 1, "the longest, once");
	for (unsigned i = 1; i < TAGS_MAX; i++) {
		snprintf(tag, sizeof(tag), "t%u", i);
		record_add_tag(&r, tag);
	}
	ok(r.n_tags == TAGS_MAX && record_add_tag(&r, "more") == -ENOSPC, "too many");
	record_drop_tag(&r, "t5");
	record_drop_tag(&r, "t5");
	ok(r.n_tags == TAGS_MAX - 1 && !record_has_tag(&r, "t5") && record_has_tag(&r, "t6"), "dropped");
	record_done(&r);
}

static void test_files(void)
{
	char dir[] = "/tmp/mica-record-XXXXXX";
	int fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	struct record a, b;
	struct fault f = { "" };
	struct stat st;

	fill(&a);
	ok(fd >= 0 && record_load(&b, fd, &f) == -ENOENT, "nothing there");
	ok(record_save(&a, fd, true) == 0 && record_load(&b, fd, &f) == 0 && b.n_tags == 2, "saved durably");
	record_done(&b);
	a.slot = 4;
	ok(record_save(&a, fd, false) == 0 && record_load(&b, fd, &f) == 0 && b.slot == 4, "saved quickly");
	ok(fstatat(fd, ".record.new", &st, 0) && fstatat(fd, "record", &st, 0) == 0 && (st.st_mode & 0777) == 0600, "one file, for us alone");
	record_done(&b);
	record_done(&a);
	unlinkat(fd, "record", 0);
	close(fd);
	rmdir(dir);
}

int main(void)
{
	test_refusals();
	test_round();
	test_tags();
	test_files();
	return tap_done();
}
