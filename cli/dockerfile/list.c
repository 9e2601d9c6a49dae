#include "cli/dockerfile/dockerfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int df_list_add(struct df_list *l, const char *s, size_t n)
{
	char *copy, **more;
	if (l->n >= DF_LIST_MAX)
		return -E2BIG;
	if (l->n == l->cap) {
		more = realloc(l->s, (l->cap ? 2 * (size_t)l->cap : 8) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->s = more;
		l->cap = l->cap ? 2 * l->cap : 8;
	}
	copy = malloc(n + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, s, n);
	copy[n] = '\0';
	l->s[l->n++] = copy;
	return 0;
}

int df_list_copy(struct df_list *to, const struct df_list *from)
{
	int err = 0;
	for (unsigned i = 0; i < from->n && !err; i++)
		err = df_list_adds(to, from->s[i]);
	return err;
}

void df_list_done(struct df_list *l)
{
	while (l->n)
		free(l->s[--l->n]);
	free(l->s);
	*l = (struct df_list){ 0 };
}

static unsigned place(const struct df_list *l, const char *name, size_t n)
{
	unsigned i = 0;
	while (i < l->n && (strncmp(l->s[i], name, n) || l->s[i][n] != '='))
		i++;
	return i;
}

const char *df_list_get(const struct df_list *l, const char *name, size_t n)
{
	unsigned i = place(l, name, n);
	return i < l->n ? l->s[i] + n + 1 : NULL;
}

int df_list_set(struct df_list *l, const char *name, const char *value)
{
	size_t n = strlen(name), m = strlen(value);
	unsigned i = place(l, name, n);
	char *s = malloc(n + m + 2);
	int err;
	if (!s)
		return -ENOMEM;
	memcpy(s, name, n);
	s[n] = '=';
	memcpy(s + n + 1, value, m + 1);
	if (i < l->n) {
		free(l->s[i]);
		l->s[i] = s;
		return 0;
	}
	err = df_list_add(l, s, n + m + 1);
	free(s);
	return err;
}
