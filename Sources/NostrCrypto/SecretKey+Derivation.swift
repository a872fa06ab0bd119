//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

extension SecretKey {
    /// A key for another purpose, made from this one (HKDF with SHA-256, RFC 5869): the same each time, and of no help in
    /// finding this one.
    ///
    /// - Parameter purpose: Names the purpose; different ones give keys that have nothing to do with each other.
    /// - Throws: If the key cannot be read, which does not happen with keys that were read or made.
    public func derived(for purpose: String) throws(CryptoError) -> Bytes32 {
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
