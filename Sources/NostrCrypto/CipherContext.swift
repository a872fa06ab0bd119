//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import COpenSSL

/// A cipher of libcrypto with one key, which is expanded once. Not for concurrent use.
@safe
final class CipherContext {
    private let context: OpaquePointer

    /// Number of bytes of the key of each of the ciphers.
    static let keyLength = 32
    /// Number of bytes of the tag of AES-GCM.
    static let tagLength = 16
    /// Number of bytes of the nonce of AES-GCM.
    static let nonceLength = 12

    /// - Parameters:
    ///   - algorithm: The cipher.
    ///   - key: Its key, ``keyLength`` bytes.
    init(_ algorithm: CipherAlgorithm, key: some Collection<UInt8>) {
        precondition(key.count == Self.keyLength, "a key has 32 bytes")
        var bytes = Array(key)
        defer { bytes.erase() }
        // These fail only if no memory is left.
        guard let context = unsafe EVP_CIPHER_CTX_new(),
            unsafe EVP_EncryptInit_ex2(context, algorithm.pointer, bytes, nil, nil) == 1
        else { fatalError("OpenSSL's libcrypto could not set up a cipher: out of memory?") }
        unsafe self.context = context
    }

    deinit { unsafe EVP_CIPHER_CTX_free(self.context) }

    // MARK: AEAD

    /// Encrypts in place with AES-GCM, and writes the tag. Returns false if libcrypto reports an error.
    func seal(
        _ text: UnsafeMutableRawBufferPointer,
        nonce: UnsafeRawBufferPointer,
        header: UnsafeRawBufferPointer,
        tag: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard tag.count == Self.tagLength, unsafe self.start(nonce, isEncrypting: true),
            unsafe self.update(header, to: nil), unsafe self.update(UnsafeRawBufferPointer(text), to: text.baseAddress)
        else { return false }
        var length: Int32 = 0
        return unsafe EVP_EncryptFinal_ex(self.context, nil, &length) == 1
            && EVP_CIPHER_CTX_ctrl(self.context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagLength), tag.baseAddress) == 1
    }

    /// Decrypts with AES-GCM. Returns false if the tag is not that of the ciphertext and the header; then what was written must not be
    /// used.
    func open(
        _ ciphertext: UnsafeRawBufferPointer,
        nonce: UnsafeRawBufferPointer,
        header: UnsafeRawBufferPointer,
        tag: UnsafeRawBufferPointer,
        to plaintext: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard tag.count == Self.tagLength, plaintext.count >= ciphertext.count,
            unsafe self.start(nonce, isEncrypting: false),
            unsafe EVP_CIPHER_CTX_ctrl(
                self.context,
                EVP_CTRL_AEAD_SET_TAG,
                Int32(Self.tagLength),
                UnsafeMutableRawPointer(mutating: tag.baseAddress)
            ) == 1,
            unsafe self.update(header, to: nil), unsafe self.update(ciphertext, to: plaintext.baseAddress)
        else { return false }
        var length: Int32 = 0
        return unsafe EVP_DecryptFinal_ex(self.context, nil, &length) == 1
    }

    private func start(_ nonce: UnsafeRawBufferPointer, isEncrypting: Bool) -> Bool {
        guard nonce.count == Self.nonceLength else { return false }
        let bytes = unsafe nonce.assumingMemoryBound(to: UInt8.self).baseAddress
        return unsafe EVP_CipherInit_ex2(self.context, nil, nil, bytes, isEncrypting ? 1 : 0, nil) == 1
    }

    // MARK: Ciphers without authentication

    /// Sets the initial value of ChaCha20: the counter, 4 bytes in little-endian order, and the nonce, 12 bytes.
    func setInitialValue(_ value: UnsafeRawBufferPointer) -> Bool {
        guard value.count == 16 else { return false }
        return unsafe EVP_EncryptInit_ex2(
            self.context,
            nil,
            nil,
            value.assumingMemoryBound(to: UInt8.self).baseAddress,
            nil
        ) == 1
    }

    /// Encrypts or decrypts `bytes` into `output`, which must have room for as many bytes and may be the same memory. AES-ECB: one block
    /// of 16 bytes. ChaCha20: continues the keystream. AES-GCM: without an output, authenticates `bytes` as additional data. Returns
    /// false if libcrypto reports an error.
    func update(_ bytes: UnsafeRawBufferPointer, to output: UnsafeMutableRawPointer?) -> Bool {
        guard unsafe !bytes.isEmpty else { return true }
        guard let count = Int32(exactly: bytes.count) else { return false }
        var length: Int32 = 0
        let input = unsafe bytes.assumingMemoryBound(to: UInt8.self).baseAddress
        let start = unsafe output.map { unsafe $0.assumingMemoryBound(to: UInt8.self) }
        return unsafe EVP_CipherUpdate(self.context, start, &length, input, count) == 1 && length == count
    }
}
