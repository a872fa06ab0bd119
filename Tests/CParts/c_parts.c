// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

// Tests of the C parts without Swift, so that they can be compiled for another processor and run in an emulator: each vector
// loop is compared with a simple one.

#include "byte_kernels.h"
#include "process_arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1000 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static unsigned long long state = 1;

static uint8_t next_byte(void) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint8_t)(state >> 56);
}

static void fail(const char *what, size_t count) {
    fprintf(stderr, "%s: wrong for %zu bytes\n", what, count);
    exit(1);
}

static size_t encode(const uint8_t *input, size_t count, uint8_t *output) {
    size_t length = 0;
    for (size_t at = 0; at < count; at += 3) {
        size_t left = count - at;
        unsigned long bits = (unsigned long)input[at] << 16;
        if (left > 1) bits |= (unsigned long)input[at + 1] << 8;
        if (left > 2) bits |= input[at + 2];
        output[length++] = (uint8_t)alphabet[bits >> 18];
        output[length++] = (uint8_t)alphabet[bits >> 12 & 63];
        output[length++] = left > 1 ? (uint8_t)alphabet[bits >> 6 & 63] : '=';
        output[length++] = left > 2 ? (uint8_t)alphabet[bits & 63] : '=';
    }
    return length;
}

// The kernels process as many whole groups as they can, and leave the rest to their caller.
static void test_base64(size_t count) {
    static uint8_t input[LONGEST], wanted[2 * LONGEST], output[2 * LONGEST], decoded[2 * LONGEST];
    for (size_t at = 0; at < count; at++) input[at] = next_byte();
    size_t length = encode(input, count, wanted);
    size_t taken = nws_base64_encode(input, count, output);
    if (taken > count || taken % 3 != 0 || memcmp(output, wanted, taken / 3 * 4) != 0) fail("base64 encode", count);
    size_t whole = length >= 4 ? (length / 4 - (count % 3 != 0)) * 4 : 0;
    size_t read = nws_base64_decode(wanted, whole, decoded);
    if (read > whole || read % 4 != 0 || memcmp(decoded, input, read / 4 * 3) != 0) fail("base64 decode", count);
    for (size_t at = 0; at < read; at++) {
        uint8_t before = wanted[at];
        wanted[at] = '.';
        if (nws_base64_decode(wanted, whole, decoded) > at) fail("base64 decode of a foreign character", count);
        wanted[at] = before;
    }
}

static void test_json(size_t count) {
    static uint8_t input[LONGEST];
    for (size_t at = 0; at < count; at++) input[at] = (uint8_t)(0x20 + next_byte() % 0x5f);
    for (size_t at = 0; at < count; at++) {
        if (input[at] == '"' || input[at] == '\\') input[at] = 'x';
    }
    for (size_t special = 0; special < count; special++) {
        static const uint8_t specials[] = {'"', '\\', 0x1f, 0x00, 0x7f, 0x80, 0xff};
        uint8_t before = input[special];
        for (size_t index = 0; index < sizeof specials; index++) {
            input[special] = specials[index];
            // Characters from 0x7f on may or may not be plain, but the loop must not pass a quote or a control character.
            if (index < 4 && nws_json_plain_prefix(input, count) > special) fail("plain prefix of JSON", count);
        }
        input[special] = before;
    }
}

int main(int argc, char **argv) {
    for (size_t count = 0; count < 300; count++) {
        test_base64(count);
        test_json(count);
    }
    test_base64(LONGEST);
    if (nws_argument_count() != 0 && (nws_argument_count() != argc || strcmp(nws_argument(0), argv[0]) != 0)) {
        fail("arguments", 0);
    }
    if (nws_argument(-1) != NULL || nws_argument(argc) != NULL) fail("arguments out of range", 0);
    puts("ok");
}
