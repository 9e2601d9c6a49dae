/* A tree as text: block style, plain words where they were plain, literal blocks for scripts, double quotes for the rest. */
#include <string.h>

#include "lib/yaml/yaml.h"

static void indent(struct buf *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_adds(out, "  ");
}

/* A character that YAML takes as an escape only, or that breaks lines besides "\n": its number and its bytes. 0: another. */
static unsigned special(const char *s, unsigned *bytes)
{
	const unsigned char *p = (const unsigned char *)s; /* ends with NUL, so the comparisons stop there */

	*bytes = 3;
	if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
		return 0x2000u + (p[2] & 0x3fu);
	if (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)
		return 0xfeff;
	if (p[0] == 0xef && p[1] == 0xbf && (p[2] == 0xbe || p[2] == 0xbf))
		return 0xffc0u + (p[2] & 0x3fu);
	*bytes = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0 ? 2 : 1;
	if (*bytes == 2)
		return p[1];
	return (p[0] < ' ' && p[0]) || p[0] == 0x7f ? p[0] : 0;
}

/* Lines of printable text whose first one tells the indentation. */
static bool fits_literal(const char *s)
{
	unsigned bytes;

	if (!strchr(s, '\n') || s[0] == ' ' || s[0] == '\n' || s[0] == '\t')
		return false;
	for (; *s; s++)
		if (*s != '\n' && *s != '\t' && special(s, &bytes))
			return false;
	return true;
}

static void quoted(struct buf *out, const char *s)
{
	unsigned bytes;

	buf_adds(out, "\"");
	for (; *s; s += bytes) {
		unsigned odd = special(s, &bytes);

		if (*s == '"' || *s == '\\')
			buf_printf(out, "\\%c", *s);
		else if (odd)
			buf_printf(out, "\\u%04x", odd);
		else
			buf_add(out, s, 1);
	}
	buf_adds(out, "\"");
}

static void literal(struct buf *out, const char *s, unsigned depth)
{
	size_t n = strlen(s);

	buf_adds(out, s[n - 1] != '\n' ? "|-" : s[n - 2] == '\n' ? "|+" : "|"); /* it begins with no line break, so n > 1 */
	while (*s) {
		size_t line = strcspn(s, "\n");

		buf_adds(out, "\n");
		if (line) {
			indent(out, depth);
			buf_add(out, s, line);
		}
		s += line + (s[line] == '\n');
	}
}

/* What the library's emitter would ask too: may it stand without quotes? Only what the file had so is tried. */
static bool is_word(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/+-")] == 0 && s[0] != '-';
}

static void scalar(struct buf *out, const struct yaml_node *n, unsigned depth)
{
	if (n->plain && !n->text[0])
		return;
	buf_adds(out, " ");
	if (n->plain && (is_word(n->text) || strcmp(n->text, "~") == 0))
		buf_adds(out, n->text);
	else if (fits_literal(n->text))
		literal(out, n->text, depth);
	else
		quoted(out, n->text);
}

static void block(struct buf *out, const struct yaml_node *parent, unsigned depth, bool first_inline);

static void value(struct buf *out, const struct yaml_node *n, unsigned depth)
{
	if (n->kind == YAML_SCALAR) {
		scalar(out, n, depth);
		buf_adds(out, "\n");
	} else if (!n->first) {
		buf_adds(out, n->kind == YAML_SEQ ? " []\n" : " {}\n");
	} else {
		buf_adds(out, "\n");
		block(out, n, n->kind == YAML_SEQ ? depth - 1 : depth, false); /* "- " stands under its key */
	}
}

/* The children of a list or mapping. first_inline: the cursor stands behind "- " already. */
static void block(struct buf *out, const struct yaml_node *parent, unsigned depth, bool first_inline)
{
	for (const struct yaml_node *n = parent->first; n; n = n->next) {
		if (!first_inline)
			indent(out, depth);
		first_inline = false;
		if (parent->kind == YAML_MAPPING) {
			if (is_word(n->key) && n->key[0])
				buf_printf(out, "%s:", n->key);
			else {
				quoted(out, n->key);
				buf_adds(out, ":");
			}
			value(out, n, depth + 1);
		} else if (n->kind == YAML_SCALAR || !n->first) {
			buf_adds(out, "-");
			value(out, n, depth + 1);
		} else { /* a mapping or list begins on the line of its dash */
			buf_adds(out, "- ");
			block(out, n, depth + 1, true);
		}
	}
}

void yaml_write(struct buf *out, const struct yaml_node *root)
{
	if (root->kind == YAML_SCALAR || !root->first) {
		value(out, root, 1);
		return;
	}
	block(out, root, 0, false);
}
