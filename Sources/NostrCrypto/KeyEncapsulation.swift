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
    private enum Form: Sendable {
        case expanded(MLKEM768.PrivateKey)
        /// The 64 bytes from which the key is derived.
        case seed(SymmetricKey)
    }

    private var form: Form

    /// Generates a key. Takes about 30 µs.
    package init() throws(CryptoError) {
        do {
            self.form = .expanded(try MLKEM768.PrivateKey())
        } catch {
            throw .operationFailed
        }
    }

    /// Derives a key from its seed of 64 bytes. For test vectors.
    ///
    /// - Throws: ``CryptoError/operationFailed`` if the seed has another length.
    package init(seed: [UInt8]) throws(CryptoError) {
        self.form = .seed(SymmetricKey(data: seed))
        self.form = .expanded(try self.expanded)
    }

    /// The public part, which the other side needs to encapsulate a secret.
    package var encapsulationKey: [UInt8] {
        get throws(CryptoError) { Array(try self.expanded.publicKey.rawRepresentation) }
    }

    private var expanded: MLKEM768.PrivateKey {
        get throws(CryptoError) {
            switch self.form {
            case .expanded(let key): return key
            case .seed(let seed):
                do {
                    let bytes = unsafe seed.withUnsafeBytes { unsafe Array($0) }
                    return try MLKEM768.PrivateKey(seedRepresentation: bytes, publicKey: nil)
                } catch {
                    throw .operationFailed
                }
            }
        }
    }

    /// Keeps only the seed. A key that is kept in case that it is needed again takes 64 bytes then, instead of about 8 KB.
    package mutating func shrink() {
        if case .expanded(let key) = self.form { self.form = .seed(SymmetricKey(data: key.seedRepresentation)) }
    }

    /// Obtains the secret in a ciphertext. A ciphertext that was made for another key gives a random secret. Takes about
    /// 40 µs, and another 30 µs after ``shrink()``.
    ///
    /// - Throws: ``CryptoError/operationFailed`` if the length is not ``KeyEncapsulation/ciphertextLength``.
    package func decapsulate(_ ciphertext: [UInt8]) throws(CryptoError) -> SharedSecret {
        let key = try self.expanded
        do {
            return SharedSecret(try key.decapsulate(ciphertext))
        } catch {
            throw .operationFailed
        }
    }
}

extension DecapsulationKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
