//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import COpenSSL

/// A cipher of OpenSSL's libcrypto. It is looked up once for the whole process.
///
/// The ciphers come from a library context of this module, with OpenSSL's default provider. OpenSSL's system configuration, which could
/// disable these ciphers, is not used.
@safe
final class CipherAlgorithm: @unchecked Sendable {
    static let aes256GCM = CipherAlgorithm("AES-256-GCM")
    static let aes256ECB = CipherAlgorithm("AES-256-ECB")
    static let chaCha20 = CipherAlgorithm("ChaCha20")

    let pointer: OpaquePointer

    private static let library = Library()

    private init(_ name: String) {
        // The default provider has all of them, unless OpenSSL was built without ChaCha20.
        guard let cipher = unsafe EVP_CIPHER_fetch(Self.library.pointer, name, nil) else {
            fatalError("OpenSSL's libcrypto has no \(name): install a build that has it")
        }
        unsafe self.pointer = cipher
    }

    @safe
    private final class Library: @unchecked Sendable {
        let pointer: OpaquePointer

        init() {
            // This fails only if no memory is left.
            guard let library = unsafe OSSL_LIB_CTX_new(), unsafe OSSL_PROVIDER_load(library, "default") != nil else {
                fatalError("OpenSSL's libcrypto could not load its default provider: out of memory?")
            }
            unsafe self.pointer = library
        }
    }
}
