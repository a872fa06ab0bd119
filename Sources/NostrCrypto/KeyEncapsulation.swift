//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// The ML-KEM-768 key encapsulation mechanism (FIPS 203). It protects recorded traffic from quantum computers.
///
/// The holder of a ``DecapsulationKey`` publishes its encapsulation key. Anybody can then make a shared secret and a
/// ciphertext, from which only the holder obtains the same secret.
package enum KeyEncapsulation {
    /// Length of an encapsulation key in bytes.
    package static let keyLength = 1_184
    /// Length of a ciphertext in bytes.
    package static let ciphertextLength = 1_088

    /// A new shared secret, and the ciphertext that transports it.
    package struct Result: Sendable {
        package let secret: SharedSecret
        package let ciphertext: [UInt8]
    }

    /// Makes a shared secret for the holder of an encapsulation key. Takes about 30 µs.
    ///
    /// - Throws: ``CryptoError/invalidEncapsulationKey`` if the key fails the checks of FIPS 203, section 7.2.
    package static func encapsulate(to key: [UInt8]) throws(CryptoError) -> Result {
        do {
            let result = try MLKEM768.PublicKey(rawRepresentation: key).encapsulate()
            return Result(secret: SharedSecret(result.sharedSecret), ciphertext: Array(result.encapsulated))
        } catch {
            throw .invalidEncapsulationKey
        }
    }
}

/// A secret that two sides share after an encapsulation.
package struct SharedSecret: Sendable {
    let key: SymmetricKey

    init(_ key: SymmetricKey) { self.key = key }

    /// The 32 bytes. For test vectors.
    package var bytes: [UInt8] { unsafe self.key.withUnsafeBytes { unsafe Array($0) } }
}

extension SharedSecret: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// A secret ML-KEM-768 key. It is used for one encapsulation.
package struct DecapsulationKey: Sendable {
    private let key: MLKEM768.PrivateKey
    /// The public part, which the other side needs to encapsulate a secret.
    package let encapsulationKey: [UInt8]

    /// Generates a key. Takes about 30 µs.
    package init() throws(CryptoError) {
        do {
            self.init(try MLKEM768.PrivateKey())
        } catch {
            throw .operationFailed
        }
    }

    /// Derives a key from its seed of 64 bytes. For test vectors.
    package init(seed: [UInt8]) throws(CryptoError) {
        do {
            self.init(try MLKEM768.PrivateKey(seedRepresentation: seed, publicKey: nil))
        } catch {
            throw .operationFailed
        }
    }

    private init(_ key: MLKEM768.PrivateKey) {
        self.key = key
        self.encapsulationKey = Array(key.publicKey.rawRepresentation)
    }

    /// Obtains the secret in a ciphertext. A ciphertext that was made for another key gives a random secret.
    ///
    /// - Throws: ``CryptoError/operationFailed`` if the length is not ``KeyEncapsulation/ciphertextLength``.
    package func decapsulate(_ ciphertext: [UInt8]) throws(CryptoError) -> SharedSecret {
        do {
            return SharedSecret(try self.key.decapsulate(ciphertext))
        } catch {
            throw .operationFailed
        }
    }
}

extension DecapsulationKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
