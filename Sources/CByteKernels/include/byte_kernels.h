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

/// Number of bytes that `nws_deflate_base64` writes at most for `count` characters.
#define NWS_DEFLATED_BASE64_BOUND(count) ((count) / 8 * 7 + 40)

/// Compresses base64 characters without padding into one block of DEFLATE (RFC 1951) with a fixed table of dynamic Huffman
/// codes: six bits for each character, except seven for `z`. The block starts at a byte. It is followed by the first three bits
/// of a stored block, and by the padding of its header, so that the length of the stored block comes next.
/// Returns the number of bytes written, or 0 if a character is not of the alphabet. `output` must have room for
/// NWS_DEFLATED_BASE64_BOUND(count) bytes.
size_t nws_deflate_base64(const uint8_t *input, size_t count, uint8_t *output);

/// Decompresses a block that `nws_deflate_base64` wrote, and checks that the first bits of a stored block and zero bits of padding
/// follow it. Stores the number of bytes that were read in `consumed`.
/// Returns the number of characters; -1 if the input is something else, or there are more than `capacity` characters.
ptrdiff_t nws_inflate_base64(
    const uint8_t *input, size_t count, uint8_t *output, size_t capacity, size_t *consumed);

#endif
