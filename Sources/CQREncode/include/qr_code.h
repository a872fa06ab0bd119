// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_QR_CODE_H
#define NWS_QR_CODE_H

#include <stddef.h>

// Encodes a text as a QR code with libqrencode, which is loaded when this function is first called. Programs run without it.
//
// folder: a folder in which the library is looked for if the system has none; NULL for none.
// modules: receives one byte for each module, row by row: 1 for a dark one, otherwise 0.
// size: the size of modules in bytes. The largest code has 177 * 177 modules.
// Returns the width of the code in modules; 0 if the text or the code is too long; -1 if the library is not installed.
int nws_qr_code(const char *text, const char *folder, unsigned char *modules, size_t size);

#endif
