//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// The secret of one generation of a session from which the keys of its direct paths are derived (docs/PROTOCOL.md).
package struct DatagramSecret: Sendable {
    private let secret: SymmetricKey

    private static let keyInfo = Array("nws/session/1/datagram".utf8)
    private static let headerInfo = Array("nws/session/1/header".utf8)

    init(_ secret: SymmetricKey) { self.secret = secret }

    /// Creates a secret from its 32 bytes. For test vectors.
    package init(bytes: Bytes32) { self.secret = SymmetricKey(data: bytes.bytes) }

    /// Derives the key of a direction of a path.
    ///
    /// - Parameters:
    ///   - isFromExit: Whether the exit sends.
    ///   - space: The space of packet numbers. No two datagrams of a space have the same number.
    package func key(isFromExit: Bool, space: UInt8) -> DatagramKey {
        DatagramKey(self.expand(Self.keyInfo + [isFromExit ? 1 : 0, space], DatagramKey.derivedLength))
    }

    /// Derives the key that hides the packet numbers of a direction. Only that of generation 0 is used (RFC 9001, section 6).
    package func headerKey(isFromExit: Bool) -> HeaderProtectionKey {
        HeaderProtectionKey(self.expand(Self.headerInfo + [isFromExit ? 1 : 0], HeaderProtectionKey.derivedLength))
    }

    private func expand(_ info: [UInt8], _ length: Int) -> SymmetricKey {
        HKDF<Crypto.SHA256>.expand(pseudoRandomKey: self.secret, info: info, outputByteCount: length)
    }
}

extension DatagramSecret: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
