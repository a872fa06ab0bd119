// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "qr_code.h"

#include <dlfcn.h>
#include <stdio.h>

#ifdef __APPLE__
#define LIBRARY "libqrencode.4.dylib"
#else
#define LIBRARY "libqrencode.so.4"
#endif

// The beginning of QRcode in qrencode.h of libqrencode 4. It has not changed since version 3.
struct code {
    int version;
    int width;
    unsigned char *data;
};

enum { level_low = 0, mode_bytes = 2, is_case_sensitive = 1 };

int nws_qr_code(const char *text, const char *folder, unsigned char *modules, size_t size) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    char path[4096];
    if (library == NULL && folder != NULL && snprintf(path, sizeof path, "%s/%s", folder, LIBRARY) < (int)sizeof path) {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == NULL) return -1;
    struct code *(*encode)(const char *, int, int, int, int) = dlsym(library, "QRcode_encodeString");
    void (*release)(struct code *) = dlsym(library, "QRcode_free");
    int width = -1;
    if (encode != NULL && release != NULL) {
        width = 0;
        struct code *code = encode(text, 0, level_low, mode_bytes, is_case_sensitive);
        if (code != NULL) {
            size_t count = (size_t)code->width * (size_t)code->width;
            if (code->width > 0 && count <= size) {
                width = code->width;
                // The lowest bit says whether a module is dark.
                for (size_t index = 0; index < count; index++) modules[index] = code->data[index] & 1;
            }
            release(code);
        }
    }
    dlclose(library);
    return width;
}
