/* One line of an exec answer. */
#include "cli/exec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int exec_frame_read(const char *line, size_t n, struct json *j, struct buf *scratch, struct exec_frame *out)
{
	const char *type = "", *encoding = "", *error = "";
	int64_t code = 0, gap = 0;
	*out = (struct exec_frame){ .type = FRAME_OTHER };
	if (json_parse_next(j, line, n, 256, NULL) || json_root(j)->kind != JSON_OBJECT)
		return -EPROTO;
	const struct json_val *v = json_root(j), *text = NULL;
	json_get_str(v, "type", &type);
	json_get_str(v, "encoding", &encoding);
	json_get_str(v, "error", &error);
	bool coded = !json_get_i64(v, "exit_code", &code);
	out->exit_code = code >= 0 && code <= 255 ? (int)code : 255;
	snprintf(out->error, sizeof(out->error), "%s", error);
	json_get_i64(v, "dropped_bytes", &gap);
	out->gap_bytes = gap > 0 ? (uint64_t)gap : 0;
	const struct json_val *so = json_get(v, "stdout"), *se = json_get(v, "stderr");
	if (*error)
		out->type = FRAME_ERROR;
	else if (!strcmp(type, "started"))
		out->type = FRAME_STARTED;
	else if (!strcmp(type, "exit"))
		out->type = FRAME_EXIT;
	else if (!strcmp(type, "gap"))
		out->type = FRAME_GAP;
	else if (se && se->kind == JSON_STRING && se->len)
		out->type = FRAME_STDERR, text = se;
	else if (so && so->kind == JSON_STRING)
		out->type = FRAME_STDOUT, text = so;
	int err = out->type == FRAME_EXIT && !coded ? -EPROTO : 0; /* a code is never made up */
	buf_clear(scratch);
	if (text && text->len && !strcmp(encoding, "base64")) {
		uint8_t *room = buf_room(scratch, text->len);
		ssize_t got = room ? base64_decode(text->s, text->len, room) : -ENOMEM;
		err = got < 0 ? -EPROTO : 0;
		if (!err)
			buf_grew(scratch, (size_t)got);
	} else if (text) {
		err = buf_add(scratch, text->s, text->len) ? -EPROTO : 0;
	}
	out->data = buf_data(scratch);
	out->n = buf_len(scratch);
	return err;
}
