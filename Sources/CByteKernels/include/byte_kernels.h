// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_BYTE_KERNELS_H
#define NWS_BYTE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Loops over every byte of the tunnel, with wider registers where the processor has them (found out at run time). Each
// takes any lengths and does as much as it can: the caller finishes the rest. Nothing is read or written outside of
// what is passed.

/// Encodes whole groups of three bytes as base64 (RFC 4648, section 4).
/// Returns the bytes of `input` that were encoded, a multiple of three; 4/3 of it was written.
/// `output` has room for the encoding of all of `input`.
size_t nws_base64_encode(const uint8_t *input, size_t count, uint8_t *output);

/// Decodes whole groups of four characters, none of them padding.
/// Returns the characters that were decoded, a multiple of four; 3/4 of it was written. It stops before a group in whose
/// neighbourhood something is no base64.
/// `output` has room for 3/4 of `count`.
size_t nws_base64_decode(const uint8_t *input, size_t count, uint8_t *output);

/// Returns how many bytes from the start need no look in a JSON string: neither quote, backslash, control character nor
/// outside of ASCII. There may be more of them behind.
size_t nws_json_plain_prefix(const uint8_t *input, size_t count);

#endif
