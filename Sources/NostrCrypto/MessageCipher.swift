//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// ChaCha20 with the key and the nonce of one message (RFC 8439, section 2.4, with a counter that starts at 0). It encrypts or decrypts
/// the message from its beginning to its end.
struct MessageCipher: ~Copyable {
    private let cipher: CipherContext

    init(_ keys: ConversationKey.MessageKeys) throws(NIP44Error) {
        self.cipher = CipherContext(.chaCha20, key: keys.chachaKey)
        let initial = [0, 0, 0, 0] + keys.chachaNonce
        guard unsafe initial.withUnsafeBytes({ unsafe self.cipher.setInitialValue($0) }) else { throw .cipherFailed }
    }

    /// Encrypts or decrypts the next bytes of the message, and appends the result. `output` must have room for it.
    func apply(to bytes: RawSpan, appendingTo output: inout OutputRawSpan) throws(NIP44Error) {
        guard output.freeCapacity >= bytes.byteCount else { throw .cipherFailed }
        let isDone = unsafe output.withUnsafeMutableBytes { buffer, initialized in
            guard !bytes.isEmpty, let start = buffer.baseAddress else { return bytes.isEmpty }
            let free = unsafe start + initialized
            guard unsafe bytes.withUnsafeBytes({ unsafe self.cipher.update($0, to: free) }) else { return false }
            initialized += bytes.byteCount
            return true
        }
        if !isDone { throw .cipherFailed }
    }
}
