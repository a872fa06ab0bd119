// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_BYTE_KERNELS_H
#define NWS_BYTE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Vectorized loops over bytes. They use AVX2 on x86-64 if the CPU supports it, which is checked at run time.
//
// Each function processes as much of the start of its input as it can, possibly nothing, and returns how much that was.
// The caller processes the rest. The functions accept any length and do not access memory outside the given buffers.

/// Encodes whole groups of three bytes as base64 (RFC 4648, section 4).
/// Returns the number of bytes of `input` that were encoded, a multiple of three. The number of characters written is
/// 4/3 of it. `output` must have room for the encoding of the whole input.
size_t nws_base64_encode(const uint8_t *input, size_t count, uint8_t *output);

/// Decodes whole groups of four base64 characters without padding.
/// Returns the number of characters that were decoded, a multiple of four. The number of bytes written is 3/4 of it;
/// bytes after them may have been overwritten. Decoding stops before a block that contains an invalid character.
/// `output` must have room for 3/4 of `count` bytes.
size_t nws_base64_decode(const uint8_t *input, size_t count, uint8_t *output);

/// Returns the length of a prefix of `input` without bytes that need special handling in a JSON string: quotes,
/// backslashes, control characters and non-ASCII bytes. The byte after the prefix does not always need it.
size_t nws_json_plain_prefix(const uint8_t *input, size_t count);

#endif
