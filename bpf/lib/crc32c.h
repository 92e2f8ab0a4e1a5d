/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* SCTP's checksum (CRC32c, RFC 9260 appendix A) after a port has changed, without reading the packet: CRCs are linear, so that of a change is
 * the change times x^(8 * the bytes behind it), modulo the polynomial, and is added to the one that stands there. */
#ifndef TANDEM_LIB_CRC32C_H
#define TANDEM_LIB_CRC32C_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Polynomials have the power 0 in the highest bit, as the checksum has. */
#define CRC32C_POLYNOMIAL 0x82f63b78

/* x^(8 * 2^i): behind as many bytes. */
static const volatile __u32 crc32c_powers[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* All ones if `bit` is set. Without a branch, of which the verifier would follow both sides each time; the assembly keeps the compiler from making one. */
static __always_inline __u32 mask_of(__u32 bit)
{
	__u32 mask = -(bit & 1);

	asm volatile("" : "+r"(mask));
	return mask;
}

static __always_inline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int bit = 0; bit < 32; bit++) {
		product ^= b & mask_of(a >> 31);
		a <<= 1;
		b = b >> 1 ^ (CRC32C_POLYNOMIAL & mask_of(b));
	}
	return product;
}

/* What to add (exclusive or) to the checksum when 16 bits change that have `bytes` from their first one to the packet's end. `change`: old exclusive
 * or new, as little endian has them. */
__attribute__((noinline)) __u32 crc32c_of_change(__u32 change, __u32 bytes)
{
	__u32 crc = change & 0xffff;

	for (int i = 0; i < 16; i++) {
		const __u32 taken = mask_of(bytes >> i);

		crc = (crc32c_multiply(crc32c_powers[i], crc) & taken) | (crc & ~taken);
	}
	return crc;
}

#endif
