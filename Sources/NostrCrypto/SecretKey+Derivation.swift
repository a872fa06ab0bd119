//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

extension SecretKey {
    /// Derives 32 secret bytes for another purpose from this key (HKDF with SHA-256, RFC 5869).
    ///
    /// The same purpose always gives the same bytes. They reveal nothing about this key.
    ///
    /// - Parameter purpose: A label for the purpose. Different labels give independent bytes.
    /// - Throws: ``CryptoError/operationFailed`` if the key cannot be read. This does not happen with valid keys.
    package func derived(for purpose: String) throws(CryptoError) -> Bytes32 {
        let secret = SymmetricKey(data: try self.exposeBytes().bytes)
        let key = HKDF<Crypto.SHA256>.deriveKey(
            inputKeyMaterial: secret,
            salt: Array("nws".utf8),
            info: Array(purpose.utf8),
            outputByteCount: Bytes32.count
        )
        guard let bytes = unsafe key.withUnsafeBytes({ unsafe Bytes32(Array($0)) }) else { throw .operationFailed }
        return bytes
    }
}
