/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* SCTP's checksum (CRC32c, RFC 9260 appendix A) after a port has changed, without reading the packet: CRCs are linear, so that of a change is
 * the change times x^(8 * the bytes behind it), modulo the polynomial, and is added to the one that stands there. */
#ifndef TANDEM_LIB_CRC32C_H
#define TANDEM_LIB_CRC32C_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Polynomials have the power 0 in the highest bit, as the checksum has. */
#define CRC32C_POLYNOMIAL 0x82f63b78

/* x^(8 * d * 16^i), of digit d at place i of a number of bytes: behind so many. */
static const volatile __u32 crc32c_powers[4][16] = {
	{
		0x80000000, 0x00800000, 0x00008000, 0x00000080, 0x82f63b78, 0xfbc3faf9, 0x8b277743, 0x52a0c93f,
		0x6ea2d55c, 0x1c08b7d6, 0xf56e0ef4, 0x34019664, 0xa66805eb, 0x7a1f6b24, 0xe75d06aa, 0xc94ec098,
	},
	{
		0x80000000, 0x18b8ea18, 0x510ac59a, 0xb2dea967, 0xb82be955, 0x36c41f1c, 0x19b29a35, 0xc9e90b9e,
		0xb8fdb1e7, 0xe55ef1f3, 0x1fe0b5c3, 0xe0553f1e, 0x18e4a304, 0x2b830011, 0x56993a31, 0x0246e2e6,
	},
	{
		0x80000000, 0x88e56f72, 0x74c360a4, 0x631bb273, 0xe4172b16, 0x71892b1b, 0x835305c9, 0x196b1eae,
		0x0d65762a, 0xafc81338, 0xb5a50ab7, 0xf373c3ac, 0x5f60970f, 0xd46d3063, 0x3a5275ea, 0x02331c01,
	},
	{
		0x80000000, 0x35d73a62, 0x28461564, 0x43eefc9f, 0xbf455269, 0x5edcdeb9, 0x65059450, 0x4e6f41a4,
		0xe2ea32dc, 0xf5b95b32, 0x695a4c87, 0xf204502c, 0x9a4f01b6, 0x941a0916, 0x4303cb97, 0x4c3d3d65,
	},
};

/* `word` if `bit` is 1, else 0. A product, since the verifier follows both sides of a branch, and of a mask, each time; the assembly keeps the compiler
 * from making one. */
static __always_inline __u32 if_set(__u32 bit, __u32 word)
{
	asm volatile("" : "+r"(bit));
	return word * bit;
}

static __always_inline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int bit = 0; bit < 32; bit++) {
		product ^= if_set(a >> 31, b);
		a <<= 1;
		b = b >> 1 ^ if_set(b & 1, CRC32C_POLYNOMIAL);
	}
	return product;
}

/* What to add (exclusive or) to the checksum when 16 bits change that have `bytes` from their first one to the packet's end. `change`: old exclusive
 * or new, as little endian has them. */
__attribute__((noinline)) __u32 crc32c_of_change(__u32 change, __u32 bytes)
{
	__u32 crc = change & 0xffff;

	for (int i = 0; i < 4; i++)
		crc = crc32c_multiply(crc32c_powers[i][bytes >> 4 * i & 15], crc);
	return crc;
}

#endif
