/* A host group's keys as front may send them, any bytes: refused with a sentence, or taken – and then what is written of it is read and taken again. */
#include <stdlib.h>
#include <string.h>

#include "api/core/groups.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config_host host = { 8ull << 30, 4ull << 20 };

static void there_and_back(const struct config *c, struct host_group *g)
{
	struct yaml_node keys = *g->doc.root;
	const struct yaml_node all = { .kind = YAML_MAPPING, .first = &keys };
	struct config_notes notes;
	struct fault f = { "" };
	struct host_group again;
	struct yaml_doc d;
	struct buf text;

	keys.key = "group";
	keys.next = NULL;
	buf_init(&text, YAML_TEXT_MAX);
	yaml_write(&text, &all);
	if (text.failed || yaml_doc_parse(&d, "f", buf_data(&text), buf_len(&text), &f))
		abort();
	d.root = yaml_child(d.root, "group");
	if (config_check_added(c, &d, NULL, &again, &notes, &f))
		abort();
	if (strcmp(again.name, g->name) != 0 || again.ram_bytes != g->ram_bytes || (again.userdata ? strcmp(again.userdata, g->userdata) : !!g->userdata))
		abort();
	host_group_done(&again);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char file[] = "config:\n  host_groups:\n  - name: vm\n";
	uint8_t *bytes = malloc(WIRE_HEAD_BYTES + size);
	struct config_notes notes;
	struct fault f = { "" };
	struct host_group g;
	struct wire_msg m;
	struct yaml_doc d;
	struct config c;
	size_t used;

	if (!bytes || size > WIRE_PAYLOAD_MAX) {
		free(bytes);
		return 0;
	}
	memset(bytes, 0, WIRE_HEAD_BYTES);
	for (unsigned i = 0; i < 4; i++)
		bytes[i] = (uint8_t)(size >> 8 * i);
	bytes[4] = C_GROUP_CREATE;
	if (size)
		memcpy(bytes + WIRE_HEAD_BYTES, data, size);
	if (config_parse(&c, "f", file, strlen(file), &host, &f))
		abort();
	if (!wire_parse(bytes, WIRE_HEAD_BYTES + size, &m, &used) && !group_tree(&d, &m, &f)) {
		if (!config_check_added(&c, &d, NULL, &g, &notes, &f)) {
			there_and_back(&c, &g);
			host_group_done(&g);
		} else if (!f.text[0]) {
			abort();
		}
	}
	config_done(&c);
	free(bytes);
	return 0;
}
