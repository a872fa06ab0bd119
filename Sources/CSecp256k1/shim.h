// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef CSECP256K1_SHIM_H
#define CSECP256K1_SHIM_H

#include <secp256k1.h>
#include <secp256k1_ecdh.h>
#include <secp256k1_extrakeys.h>
#include <secp256k1_schnorrsig.h>

#endif
