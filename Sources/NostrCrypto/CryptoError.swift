//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// An error of a key or signature operation.
public enum CryptoError: Error, Hashable, Sendable {
    /// The 32 bytes are not a secret key: they are zero, or not less than the order of the curve.
    case invalidSecretKey
    /// The 32 bytes are not a public key: there is no point on secp256k1 with this x coordinate.
    case invalidPublicKey
    /// The bytes are not an ML-KEM-768 encapsulation key.
    case invalidEncapsulationKey
    /// The cryptographic library reported an error. This does not happen with valid keys.
    case operationFailed
}
