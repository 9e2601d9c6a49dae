#include "api/core/ssh_line.h"

#include <errno.h>
#include <string.h>

int ssh_keys_add(struct buf *lines, const char *key, size_t n)
{
	while (n && strchr(" \r\n", key[n - 1]) && key[n - 1]) /* as a file ends */
		n--;
	if (!n || key[0] == ' ' || !memchr(key, ' ', n) || !utf8_is_valid(key, n))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)key[i] < ' ' || key[i] == 0x7f)
			return -EINVAL;
	buf_add(lines, key, n);
	return buf_add(lines, "\n", 1);
}
