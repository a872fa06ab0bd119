// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef COPENSSL_SHIM_H
#define COPENSSL_SHIM_H

#include <openssl/evp.h>
#include <openssl/provider.h>

#endif
