// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "byte_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

static bool has_avx2(void) {
    // Cheap: reads a variable that the C runtime sets before main.
    return __builtin_cpu_supports("avx2");
}

// Encodes 24 bytes to 32 characters at a time. The shuffle puts three bytes into each 32-bit lane, and multiplications
// shift their four 6-bit values into separate bytes. A saturating subtraction maps each value to one of the five ranges
// of the alphabet, and a table gives the offset from the value to its character.
AVX2 static size_t encode_avx2(const uint8_t *input, size_t count, uint8_t *output) {
    const __m256i spread = _mm256_setr_epi8(
        1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10, 1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    const __m256i offsets = _mm256_setr_epi8(
        'a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
        '+' - 62, '/' - 63, 'A', 0, 0, 'a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
        '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
    size_t done = 0;
    // The second load reads 16 bytes from offset 12, so 28 bytes must be left.
    for (; count - done >= 28; done += 24, output += 32) {
        __m256i bytes = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(input + done))),
            _mm_loadu_si128((const __m128i *)(input + done + 12)), 1);
        bytes = _mm256_shuffle_epi8(bytes, spread);
        const __m256i high = _mm256_mulhi_epu16(
            _mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)), _mm256_set1_epi32(0x04000040));
        const __m256i low = _mm256_mullo_epi16(
            _mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)), _mm256_set1_epi32(0x01000010));
        const __m256i sixes = _mm256_or_si256(high, low);
        __m256i range = _mm256_subs_epu8(sixes, _mm256_set1_epi8(51));
        range = _mm256_or_si256(
            range, _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8(26), sixes), _mm256_set1_epi8(13)));
        const __m256i characters = _mm256_add_epi8(sixes, _mm256_shuffle_epi8(offsets, range));
        _mm256_storeu_si256((__m256i *)output, characters);
    }
    return done;
}

// Decodes 32 characters to 24 bytes at a time. Two tables, indexed by the low and high nibble, detect invalid
// characters. A third table gives the offset from a character to its 6-bit value. Two multiplications join the values.
AVX2 static size_t decode_avx2(const uint8_t *input, size_t count, uint8_t *output) {
    const __m256i low_table = _mm256_setr_epi8(
        0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a, 0x15, 0x11,
        0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a);
    const __m256i high_table = _mm256_setr_epi8(
        0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10,
        0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
    const __m256i offsets = _mm256_setr_epi8(
        0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0,
        0);
    const __m256i pack = _mm256_setr_epi8(
        2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i slash = _mm256_set1_epi8('/');
    size_t done = 0;
    // A store writes 32 bytes, of which 24 are valid. With 44 characters left, the output has room for 33 bytes.
    for (; count - done >= 44; done += 32, output += 24) {
        __m256i characters = _mm256_loadu_si256((const __m256i *)(input + done));
        const __m256i high = _mm256_and_si256(_mm256_srli_epi32(characters, 4), nibble);
        const __m256i low = _mm256_and_si256(characters, nibble);
        const __m256i wrong =
            _mm256_and_si256(_mm256_shuffle_epi8(low_table, low), _mm256_shuffle_epi8(high_table, high));
        if (!_mm256_testz_si256(wrong, wrong)) break;
        const __m256i is_slash = _mm256_cmpeq_epi8(characters, slash);
        characters =
            _mm256_add_epi8(characters, _mm256_shuffle_epi8(offsets, _mm256_add_epi8(is_slash, high)));
        const __m256i twelves = _mm256_maddubs_epi16(characters, _mm256_set1_epi32(0x01400140));
        const __m256i groups = _mm256_madd_epi16(twelves, _mm256_set1_epi32(0x00011000));
        const __m256i bytes = _mm256_permutevar8x32_epi32(
            _mm256_shuffle_epi8(groups, pack), _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)output, bytes);
    }
    return done;
}

AVX2 static size_t plain_prefix_avx2(const uint8_t *input, size_t count) {
    const __m256i quote = _mm256_set1_epi8('"');
    const __m256i backslash = _mm256_set1_epi8('\\');
    const __m256i space = _mm256_set1_epi8(0x20);
    size_t done = 0;
    for (; count - done >= 32; done += 32) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(input + done));
        // The comparison is signed, so non-ASCII bytes are less than a space, too.
        const __m256i special = _mm256_or_si256(
            _mm256_cmpgt_epi8(space, bytes),
            _mm256_or_si256(_mm256_cmpeq_epi8(bytes, quote), _mm256_cmpeq_epi8(bytes, backslash)));
        const uint32_t mask = (uint32_t)_mm256_movemask_epi8(special);
        if (mask != 0) return done + (size_t)__builtin_ctz(mask);
    }
    return done;
}

size_t nws_base64_encode(const uint8_t *input, size_t count, uint8_t *output) {
    return has_avx2() ? encode_avx2(input, count, output) : 0;
}

size_t nws_base64_decode(const uint8_t *input, size_t count, uint8_t *output) {
    return has_avx2() ? decode_avx2(input, count, output) : 0;
}

size_t nws_json_plain_prefix(const uint8_t *input, size_t count) {
    return has_avx2() ? plain_prefix_avx2(input, count) : 0;
}

#else

// Without a vectorized version, the functions process nothing and the callers process all bytes.

size_t nws_base64_encode(const uint8_t *input, size_t count, uint8_t *output) {
    (void)input, (void)count, (void)output;
    return 0;
}

size_t nws_base64_decode(const uint8_t *input, size_t count, uint8_t *output) {
    (void)input, (void)count, (void)output;
    return 0;
}

size_t nws_json_plain_prefix(const uint8_t *input, size_t count) {
    (void)input, (void)count;
    return 0;
}

#endif
