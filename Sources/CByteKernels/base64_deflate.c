// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "byte_kernels.h"

#include <string.h>

// A block of DEFLATE (RFC 1951, section 3.2.7) has a header with the lengths of its codes. Here it is always the same. The 63
// smallest characters of the base64 alphabet have codes of six bits, in their order. Six one bits start the codes of the largest
// character, `z`, and of the end of the block; a seventh bit distinguishes the two.
static const uint8_t HEADER[] = {
    0x04, 0x80, 0x32, 0x12, 0xc3, 0x1e, 0x94, 0x21, 0xd6, 0x18, 0xdb, 0xce, 0x16, 0xdb, 0xee, 0xeb, 0x7b};

#define ONES 0x3f
#define CODE_BITS 6
// Marks of the table for encoding, above the code.
#define IS_LONG 0x40
#define IS_INVALID 0x80

static const char ORDER[] = "+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static uint8_t codes[256];
static uint8_t characters_of[1 << CODE_BITS];
// Two characters, their number, and the number of bits, for each value of the next twelve bits.
static uint32_t pairs[1 << (2 * CODE_BITS)];

// Codes start with their highest bit, other values with their lowest one.
static uint8_t reversed(uint8_t code) {
    uint8_t result = 0;
    for (int bit = 0; bit < CODE_BITS; bit++) result |= (code >> bit & 1) << (CODE_BITS - 1 - bit);
    return result;
}

// Runs before main.
__attribute__((constructor)) static void make_tables(void) {
    memset(codes, IS_INVALID, sizeof codes);
    for (uint8_t rank = 0; rank < 1 << CODE_BITS; rank++) {
        const uint8_t code = reversed(rank);
        characters_of[code] = (uint8_t)ORDER[rank];
        codes[(uint8_t)ORDER[rank]] = code | (code == ONES ? IS_LONG : 0);
    }
    for (uint32_t bits = 0; bits < sizeof pairs / sizeof *pairs; bits++) {
        const uint8_t first = bits & ONES, second = bits >> CODE_BITS;
        uint32_t count = 1, length = CODE_BITS;
        if (first == ONES) {
            // `z`, or the end of the block, which has no characters.
            count = 1 - (second & 1);
            length = CODE_BITS + 1;
        } else if (second != ONES) {
            count = 2;
            length = 2 * CODE_BITS;
        }
        pairs[bits] = characters_of[first] | (uint32_t)characters_of[second] << 8 | count << 16 | length << 24;
    }
}

static uint64_t load(const uint8_t *input) {
    uint64_t value;
    memcpy(&value, input, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static void store(uint8_t *output, uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(output, &value, sizeof value);
}

// Bits that were not written yet; fewer than eight after each step.
struct writer {
    uint8_t *output;
    uint64_t bits;
    unsigned count;
};

// Appends at most 56 bits. Writes eight bytes, of which only the first ones count.
static inline void put(struct writer *writer, uint64_t bits, unsigned count) {
    writer->bits |= bits << writer->count;
    writer->count += count;
    store(writer->output, writer->bits);
    writer->output += writer->count >> 3;
    writer->bits >>= writer->count & ~7u;
    writer->count &= 7;
}

size_t nws_deflate_base64(const uint8_t *input, size_t count, uint8_t *output) {
    struct writer writer = {output + sizeof HEADER, 0, 0};
    memcpy(output, HEADER, sizeof HEADER);
    size_t done = 0;
    for (; count - done >= 8; done += 8) {
        uint64_t values = 0;
        for (unsigned index = 0; index < 8; index++) values |= (uint64_t)codes[input[done + index]] << 8 * index;
        if (values & 0x8080808080808080u) return 0;
        if (values & 0x4040404040404040u) {
            // A code of seven bits, the last of which is zero.
            uint64_t bits = 0;
            unsigned length = 0;
            for (unsigned index = 0; index < 8; index++) {
                const uint8_t code = values >> 8 * index & 0xff;
                bits |= (uint64_t)(code & ONES) << length;
                length += CODE_BITS + (code >> 6);
            }
            put(&writer, bits, length);
            continue;
        }
        values = (values & 0x003f003f003f003fu) | (values >> 2 & 0x0fc00fc00fc00fc0u);
        values = (values & 0x00000fff00000fffu) | (values >> 4 & 0x00fff00000fff000u);
        put(&writer, (values & 0xffffff) | (values >> 8 & 0xffffff000000u), 8 * CODE_BITS);
    }
    for (; done < count; done++) {
        const uint8_t code = codes[input[done]];
        if (code & IS_INVALID) return 0;
        put(&writer, code & ONES, CODE_BITS + (code >> 6));
    }
    // The end of the block, and the first bits of a stored block that is not the last one.
    put(&writer, 0x7f, CODE_BITS + 1);
    put(&writer, 0, 3);
    if (writer.count > 0) put(&writer, 0, 8 - writer.count);
    return (size_t)(writer.output - output);
}

ptrdiff_t nws_inflate_base64(
    const uint8_t *input, size_t count, uint8_t *output, size_t capacity, size_t *consumed) {
    if (count < sizeof HEADER || memcmp(input, HEADER, sizeof HEADER) != 0) return -1;
    size_t bit = 8 * sizeof HEADER, written = 0;
    // Each round consumes fewer than eight bytes, and writes at most eight characters.
    while (bit / 8 + 8 <= count && written + 8 <= capacity) {
        uint64_t bits = load(input + bit / 8) >> (bit & 7);
        // Eight codes of six bits, in a byte each. If none of them starts with six one bits, each is a character.
        uint64_t values = (bits & 0xffffff) | (bits << 8 & 0x00ffffff00000000u);
        values = (values & 0x00000fff00000fffu) | (values << 4 & 0x0fff00000fff0000u);
        values = (values & 0x003f003f003f003fu) | (values << 2 & 0x3f003f003f003f00u);
        if (((values + 0x0101010101010101u) & 0x4040404040404040u) == 0) {
            uint64_t text = 0;
            for (unsigned index = 0; index < 8; index++)
                text |= (uint64_t)characters_of[values >> 8 * index & ONES] << 8 * index;
            store(output + written, text);
            written += 8;
            bit += 8 * CODE_BITS;
            continue;
        }
        for (unsigned step = 0; step < 4; step++) {
            const uint32_t pair = pairs[bits & (sizeof pairs / sizeof *pairs - 1)];
            const uint32_t characters = pair >> 16 & 0xff;
            if (characters == 0) goto end;
            output[written] = pair & 0xff;
            output[written + 1] = pair >> 8 & 0xff;
            written += characters;
            bits >>= pair >> 24;
            bit += pair >> 24;
        }
    }
    for (;;) {
        // The last bytes, of which some may not exist.
        uint8_t rest[8] = {0};
        if (bit / 8 >= count) return -1;
        const size_t left = count - bit / 8;
        memcpy(rest, input + bit / 8, left < sizeof rest ? left : sizeof rest);
        const uint32_t pair = pairs[load(rest) >> (bit & 7) & (sizeof pairs / sizeof *pairs - 1)];
        const uint32_t characters = pair >> 16 & 0xff;
        if (characters == 0) break;
        // One character at a time, because the second one may be made of bits that do not exist.
        const unsigned length = (pair & 0xff) == 'z' ? CODE_BITS + 1 : CODE_BITS;
        if (written == capacity || bit + length > 8 * count) return -1;
        output[written++] = pair & 0xff;
        bit += length;
    }
end:
    // The end of the block has seven bits. The stored block's header ends at a byte.
    bit += CODE_BITS + 1;
    const size_t end = (bit + 3 + 7) / 8;
    if (end > count) return -1;
    uint32_t rest = 0;
    for (size_t index = bit / 8; index < end; index++) rest |= (uint32_t)input[index] << 8 * (index - bit / 8);
    if (rest >> (bit & 7) != 0) return -1;
    *consumed = end;
    return (ptrdiff_t)written;
}
