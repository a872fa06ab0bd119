//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a key or signature operation could not be done.
public enum CryptoError: Error, Hashable, Sendable {
    /// The 32 bytes are zero or not below the order of the curve.
    case invalidSecretKey
    /// The 32 bytes are not the x coordinate of a point on secp256k1.
    case invalidPublicKey
    /// The curve library refused for another reason; not reachable with the keys that this module hands out.
    case operationFailed
}
