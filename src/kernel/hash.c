/*
 * hash.c
 *		Hashes of bytes, built on 128-bit multiplication.
 *
 * Sixteen bytes a step are multiplied into each other and folded; a short rest is read by overlapping words, so that
 * nothing is read past the end.  Words are little-endian on every machine.
 */
#include "kernel/hash.h"

#define K0 UINT64CONST(0x8F3B1D2C6A5E4977)
#define K1 UINT64CONST(0xB5470A9F1E6DC323)
#define K2 UINT64CONST(0xD2E9C4817B3FA65D)
#define K3 UINT64CONST(0x94B86F53E01D7A2B)

static inline uint64
read_u64(const uint8 *p)
{
	uint64		value;

	memcpy(&value, p, sizeof(value));
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	value = __builtin_bswap64(value);
#endif
	return value;
}

static inline uint64
read_u32(const uint8 *p)
{
	uint32		value;

	memcpy(&value, p, sizeof(value));
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	value = __builtin_bswap32(value);
#endif
	return value;
}

/*
 * pyn_hash_bytes gives a 64-bit hash of `length` bytes; different seeds give independent hashes.
 */
uint64
pyn_hash_bytes(const void *data, Size length, uint64 seed)
{
	const uint8 *p = data;
	Size		left = length;
	uint64		h = pyn_fold(seed ^ K0, K1);
	uint64		a;
	uint64		b;

	while (left > 16)
	{
		h = pyn_fold(read_u64(p) ^ K1, read_u64(p + 8) ^ h);
		p += 16;
		left -= 16;
	}
	if (left >= 8)
	{
		a = read_u64(p);
		b = read_u64(p + left - 8);
	}
	else if (left >= 4)
	{
		a = read_u32(p);
		b = read_u32(p + left - 4);
	}
	else if (left > 0)
	{
		a = (uint64) p[0] << 16 | (uint64) p[left >> 1] << 8 | p[left - 1];
		b = 0;
	}
	else
		a = b = 0;
	return pyn_fold(K2 ^ (uint64) length, pyn_fold(a ^ K3, b ^ h));
}

/*
 * pyn_digest gives a 128-bit digest of `length` bytes: a checksum that also stands for the value.  Two lanes with
 * different constants see every word; four words a step keep the multiplier busy.
 */
PynDigest
pyn_digest(const void *data, Size length)
{
	const uint8 *p = data;
	Size		left = length;
	uint64		low = K0 ^ (uint64) length;
	uint64		high = K2;
	PynDigest	digest;

	while (left >= 32)
	{
		uint64		a = read_u64(p);
		uint64		b = read_u64(p + 8);
		uint64		c = read_u64(p + 16);
		uint64		d = read_u64(p + 24);

		low = pyn_fold(a ^ low, b ^ K1) + pyn_fold(c ^ K2, d ^ K3);
		high = pyn_fold(c ^ high, a ^ K3) + pyn_fold(d ^ K0, b ^ K2);
		p += 32;
		left -= 32;
	}
	digest.low = pyn_hash_bytes(p, left, low);
	digest.high = pyn_hash_bytes(p, left, high);
	return digest;
}
