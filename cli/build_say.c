/* How a build goes: lines for a person on stderr, or one JSON object a line on stdout. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/out.h"

#include <stdio.h>
#include <string.h>

#define TEXT_SHOWN 160
#define LINE_BYTES_MAX 8192u

static void event(const struct build *b, const char *what, void (*more)(struct json_out *o, const struct build *b, const void *arg), const void *arg)
{
	struct json_out o;
	struct buf line;
	buf_init(&line, 1u << 20);
	json_out_init(&o, &line);
	json_obj(&o, NULL);
	json_put_str(&o, "event", what);
	if (b->step) {
		json_put_u64(&o, "step", b->step);
		json_put_u64(&o, "steps", b->steps);
	}
	more(&o, b, arg);
	json_end(&o);
	if (!line.failed) {
		fwrite(buf_data(&line), 1, buf_len(&line), stdout);
		putchar('\n');
		fflush(stdout);
	}
	buf_done(&line);
}

struct step_words {
	const char *text, *stage;
	unsigned line;
	bool cached;
};

static void put_step(struct json_out *o, const struct build *b, const void *arg)
{
	const struct step_words *w = arg;
	json_put_str(o, "file", b->file.name);
	json_put_u64(o, "line", w->line);
	if (*w->stage)
		json_put_str(o, "stage", w->stage);
	json_put_strn(o, "instruction", w->text, strlen(w->text));
	json_put_bool(o, "cached", w->cached);
}

void say_step(struct build *b, const struct df_stage *s, unsigned line, const char *text, bool cached)
{
	const struct step_words w = { text, s->name, line, cached };
	char shown[TEXT_SHOWN + 1];
	b->step++;
	b->step_ms = now_mono_ms();
	b->n_tail = 0;
	if (b->say == SAY_JSONL)
		event(b, "step", put_step, &w);
	out_clean(shown, sizeof(shown), text);
	if (b->say == SAY_TEXT)
		fprintf(stderr, "[%s%s%u/%u]%s %s\n", s->name, *s->name ? " " : "", b->step, b->steps, cached ? " CACHED" : "", shown);
}

static void put_seconds(struct json_out *o, const struct build *b, const void *arg)
{
	(void)arg;
	json_put_real(o, "seconds", (double)(now_mono_ms() - b->step_ms) / 1000);
}

static void end_lines(struct build *b);

void say_done(struct build *b)
{
	double s = (double)(now_mono_ms() - b->step_ms) / 1000;
	end_lines(b);
	if (b->say == SAY_JSONL)
		event(b, "done", put_seconds, NULL);
	else if (b->say == SAY_TEXT)
		fprintf(stderr, "    done in %.1f s\n", s);
}

/* ---- what commands print ---- */

struct output {
	const char *stream;
	const void *p;
	size_t n;
};

static void put_output(struct json_out *o, const struct build *b, const void *arg)
{
	const struct output *out = arg;
	(void)b;
	json_put_str(o, "stream", out->stream);
	json_put_strn(o, "text", out->p, out->n);
}

static void say_line(struct build *b, bool is_stderr)
{
	struct buf *l = &b->line[is_stderr];
	const struct output out = { is_stderr ? "stderr" : "stdout", buf_data(l), buf_len(l) };
	char shown[LINE_BYTES_MAX + 1];
	if (b->say == SAY_JSONL)
		event(b, "output", put_output, &out);
	if (b->say == SAY_TEXT && buf_cstr(l)) {
		out_clean(shown, sizeof(shown), buf_cstr(l));
		fprintf(stderr, "    %s\n", shown);
	}
	buf_clear(l);
}

static void end_lines(struct build *b)
{
	for (int i = 0; i < 2; i++)
		if (buf_len(&b->line[i]))
			say_line(b, i);
}

static void keep_tail(struct build *b, const char *p, size_t n)
{
	if (n > sizeof(b->tail)) {
		p += n - sizeof(b->tail);
		n = sizeof(b->tail);
	}
	if (b->n_tail + n > sizeof(b->tail)) {
		size_t drop = b->n_tail + n - sizeof(b->tail);
		memmove(b->tail, b->tail + drop, b->n_tail - drop);
		b->n_tail -= drop;
	}
	memcpy(b->tail + b->n_tail, p, n);
	b->n_tail += n;
}

void say_output(struct build *b, bool is_stderr, const void *data, size_t n)
{
	const char *p = data;
	struct buf *l = &b->line[is_stderr];
	keep_tail(b, p, n);
	while (n) {
		const char *nl = memchr(p, '\n', n);
		size_t part = nl ? (size_t)(nl - p) : n;
		if (part > LINE_BYTES_MAX - buf_len(l)) { /* a line without end is cut into several */
			part = LINE_BYTES_MAX - buf_len(l);
			nl = NULL;
		}
		buf_add(l, p, part);
		if (nl || buf_len(l) == LINE_BYTES_MAX)
			say_line(b, is_stderr);
		part += nl != NULL;
		p += part;
		n -= part;
	}
}

/* ---- the end ---- */

struct failure {
	const char *text, *tail;
	size_t n_tail;
	unsigned line;
	int status;
};

static void put_failure(struct json_out *o, const struct build *b, const void *arg)
{
	const struct failure *w = arg;
	if (w->line) {
		json_put_str(o, "file", b->file.name);
		json_put_u64(o, "line", w->line);
	}
	json_put_strn(o, "message", w->text, strlen(w->text));
	if (w->status)
		json_put_i64(o, "exit_code", w->status);
	if (w->tail)
		json_put_strn(o, "output", w->tail, w->n_tail);
}

int say_failed(struct build *b, const struct df_op *op, int status)
{
	char text[TEXT_SHOWN + 1], said[TEXT_SHOWN + 400], cause[64];
	end_lines(b);
	out_clean(text, sizeof(text), op->text);
	snprintf(said, sizeof(said), "%s:%u: %s", b->file.name, op->line, text);
	const struct failure w = { said, b->tail, b->n_tail, op->line, status };
	if (b->say == SAY_JSONL)
		event(b, "error", put_failure, &w);
	b->told = true;
	if (b->say == SAY_NOTHING && b->n_tail) { /* the others have seen it as it came */
		fwrite(b->tail, 1, b->n_tail, stderr);
		if (b->tail[b->n_tail - 1] != '\n')
			fputc('\n', stderr);
	}
	snprintf(cause, sizeof(cause), "the command ended with exit code %d", status);
	return out_error(EXIT_FAIL, cause, "mend the command; steps before it are kept, and the next build goes on from there", "%s", said);
}

int say_refused(struct build *b, const struct fault *f, const char *fix)
{
	const struct failure w = { .text = f->text };
	char clean[1024];
	if (b->say == SAY_JSONL)
		event(b, "error", put_failure, &w);
	b->told = true;
	out_clean(clean, sizeof(clean), f->text);
	return out_error(EXIT_FAIL, NULL, fix, "%s", clean);
}

int say_ended(struct build *b, int code)
{
	const struct failure w = { .text = code == 130 ? "cancelled" : "standard error says why" };
	if (code && b->say == SAY_JSONL && !b->told)
		event(b, "error", put_failure, &w);
	return code;
}

struct result {
	const struct json_val *image;
	const char *key;
	bool cached;
};

static void put_result(struct json_out *o, const struct build *b, const void *arg)
{
	const struct result *r = arg;
	const struct json_val *names = json_get(r->image, "names");
	char digest[80];
	(void)b;
	snprintf(digest, sizeof(digest), "sha256:%s", r->key);
	json_put_str(o, "id", json_text(r->image, "id", ""));
	json_put_str(o, "digest", digest);
	json_arr(o, "names");
	for (const struct json_val *n = json_first(names); n; n = json_next(names, n))
		if (json_str(n) && !cache_name_is(json_str(n)))
			json_put_str(o, NULL, json_str(n));
	json_end(o);
	json_put_u64(o, "size_bytes", (uint64_t)json_int(r->image, "size_bytes"));
	json_put_u64(o, "stored_bytes", (uint64_t)json_int(r->image, "stored_bytes"));
	json_put_bool(o, "cached", r->cached);
}

void say_image(struct build *b, const struct json_val *image, const char *key, bool cached)
{
	const struct result r = { image, key, cached };
	b->step = 0;
	if (b->say == SAY_JSONL)
		event(b, "image", put_result, &r);
	else if (b->say == SAY_NOTHING)
		puts(json_text(image, "id", "-"));
	else
		image_print(image);
}
