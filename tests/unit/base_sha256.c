/* SHA-256 against the known answers of FIPS 180-4's examples, and every length around the padding. */
#include <string.h>

#include "lib/base/sha256.h"
#include "tests/unit/tap.h"

static void check(const char *text, const char *want)
{
	uint8_t d[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];

	sha256(text, strlen(text), d);
	hex_encode(d, sizeof(d), hex);
	ok(strcmp(hex, want) == 0, "%zu bytes: %s", strlen(text), hex);
}

int main(void)
{
	char text[200];
	uint8_t d[SHA256_BYTES], sum[SHA256_BYTES] = { 0 };
	char hex[2 * SHA256_BYTES + 1];

	check("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(text, 'a', sizeof(text));
	for (size_t n = 0; n < sizeof(text); n++) { /* digest of all the digests: python3 hashlib gives the same */
		uint8_t both[2 * SHA256_BYTES];

		sha256(text, n, d);
		memcpy(both, sum, sizeof(sum));
		memcpy(both + sizeof(sum), d, sizeof(d));
		sha256(both, sizeof(both), sum);
	}
	hex_encode(sum, sizeof(sum), hex);
	ok(strcmp(hex, "0c2e263532fd001c0c5c65e3f8cdea16be6b99bfca46845f693f31b42283a14f") == 0, "lengths 0 to 199: %s", hex);
	bool same = true;
	for (size_t step = 1; step < sizeof(text); step++) { /* in pieces of every length */
		struct sha256_run r;

		sha256_begin(&r);
		for (size_t at = 0; at < sizeof(text); at += step)
			sha256_more(&r, text + at, at + step < sizeof(text) ? step : sizeof(text) - at);
		sha256_end(&r, d);
		sha256(text, sizeof(text), sum);
		same = same && memcmp(d, sum, sizeof(d)) == 0;
	}
	ok(same, "in pieces it is the same");
	static uint8_t many[100001]; /* enough for the processor's own instructions, where it has them; single blocks go without */
	struct sha256_run r;

	for (uint32_t i = 0; i < sizeof(many); i++)
		many[i] = (uint8_t)(i * i + i / 251);
	sha256(many, sizeof(many), d);
	hex_encode(d, sizeof(d), hex);
	ok(strcmp(hex, "f2412caefced174a149d07ece0f2e2b742ae39df1b45568907a3a3fd6f9bdd4f") == 0, "100001 bytes: %s", hex);
	sha256_begin(&r);
	for (size_t at = 0; at < sizeof(many); at += 64)
		sha256_more(&r, many + at, at + 64 < sizeof(many) ? 64 : sizeof(many) - at);
	sha256_end(&r, sum);
	ok(memcmp(d, sum, sizeof(d)) == 0, "the same block by block");
	sha256_begin(&r);
	sha256_more(&r, many, 60000);
	sha256_more(&r, many + 60000, 41);
	sha256_more(&r, many + 60041, sizeof(many) - 60041);
	sha256_end(&r, sum);
	ok(memcmp(d, sum, sizeof(d)) == 0, "and from one to the other");
	return tap_done();
}
