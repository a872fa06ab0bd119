//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// The fastest known implementations of ChaCha20, HMAC-SHA256 and SHA-256, from libcrypto, for the roofline.
///
/// The library is loaded at run time, because nws itself does not need it.
struct FastPrimitives {
    private typealias New = @convention(c) () -> OpaquePointer?
    private typealias Cipher = @convention(c) () -> OpaquePointer?
    private typealias Initialize =
        @convention(c) (OpaquePointer?, OpaquePointer?, OpaquePointer?, UnsafePointer<UInt8>?, UnsafePointer<UInt8>?)
        -> CInt
    private typealias Update =
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<CInt>?, UnsafePointer<UInt8>?, CInt
        )
        -> CInt
    private typealias Digest =
        @convention(c) (UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?) -> UnsafeMutablePointer<UInt8>?
    private typealias Code =
        @convention(c) (
            OpaquePointer?, UnsafeRawPointer?, CInt, UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>?,
            UnsafeMutablePointer<CUnsignedInt>?
        ) -> UnsafeMutablePointer<UInt8>?

    private let context: OpaquePointer
    private let cipher: OpaquePointer
    private let hash: OpaquePointer
    private let initialize: Initialize
    private let update: Update
    private let digest: Digest
    private let code: Code

    /// Returns nil if libcrypto 3 is not installed.
    init?() {
        guard let library = dlopen("libcrypto.so.3", RTLD_NOW) else { return nil }
        func find<Function>(_ name: String, _ type: Function.Type) -> Function? {
            dlsym(library, name).map { unsafeBitCast($0, to: type) }
        }
        guard let new = find("EVP_CIPHER_CTX_new", New.self), let chacha = find("EVP_chacha20", Cipher.self),
            let sha = find("EVP_sha256", Cipher.self), let initialize = find("EVP_EncryptInit_ex", Initialize.self),
            let update = find("EVP_EncryptUpdate", Update.self), let digest = find("SHA256", Digest.self),
            let code = find("HMAC", Code.self), let context = new(), let cipher = chacha(), let hash = sha()
        else { return nil }
        (self.context, self.cipher, self.hash) = (context, cipher, hash)
        (self.initialize, self.update, self.digest, self.code) = (initialize, update, digest, code)
    }

    func chacha20(_ input: [UInt8], into output: inout [UInt8]) {
        let key = [UInt8](repeating: 7, count: 32)
        let nonce = [UInt8](repeating: 0, count: 16)
        var length: CInt = 0
        precondition(self.initialize(self.context, self.cipher, nil, key, nonce) == 1)
        precondition(self.update(self.context, &output, &length, input, CInt(input.count)) == 1)
    }

    func sha256(_ input: [UInt8]) {
        var output = [UInt8](repeating: 0, count: 32)
        precondition(self.digest(input, input.count, &output) != nil)
    }

    func hmac(_ input: [UInt8]) {
        let key = [UInt8](repeating: 7, count: 32)
        var output = [UInt8](repeating: 0, count: 32)
        var length: CUnsignedInt = 0
        precondition(self.code(self.hash, key, 32, input, input.count, &output, &length) != nil)
    }
}
