//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// A client's report that two exits with the same long-term key have accepted its offer. Each exit gets the session key, the
/// hash of the body, and the signature of the other one's acceptance, which prove the report.
package struct DuplicateKeyReport: Hashable, Sendable {
    /// The other exit's session key.
    package let fresh: PublicKey
    /// The SHA-256 of the body of the other acceptance.
    package let bodyHash: Bytes32
    /// The signature of the other acceptance.
    package let signature: SchnorrSignature

    package init(fresh: PublicKey, bodyHash: Bytes32, signature: SchnorrSignature) {
        self.fresh = fresh
        self.bodyHash = bodyHash
        self.signature = signature
    }

    /// - Parameters:
    ///   - acceptance: The acceptance of the other exit.
    ///   - fresh: The other exit's session key.
    package init(_ acceptance: SessionAcceptance, fresh: PublicKey) {
        self.init(fresh: fresh, bodyHash: .sha256(of: acceptance.body), signature: acceptance.signature)
    }

    /// The only packet of a session that the client does not want: the report, and the end of the session.
    ///
    /// - Parameter path: The path of the packet.
    package func closingPacket(on path: PathID) -> [UInt8] {
        var packet = ByteBuffer()
        SessionPacketHeader(path: path, number: 0).encode(isFromExit: false, into: &packet)
        SessionFrame.duplicateKey(self).encode(into: &packet)
        SessionFrame.connectionClose(code: 0, reason: "").encode(into: &packet)
        return Array(packet.readableBytesView)
    }

    /// Returns whether the exit's long-term key has signed an acceptance of the offer with another session key than `own`.
    ///
    /// - Parameters:
    ///   - exit: The exit's long-term key.
    ///   - offerHash: ``VersionedOffer/hash(exit:client:uuid:)``.
    ///   - own: The exit's first session key.
    package func isProven(exit: PublicKey, offerHash: Bytes32, own: PublicKey) -> Bool {
        guard self.fresh != own else { return false }
        let transcript = SessionTranscript(offerHash: offerHash, fresh: self.fresh, bodyHash: self.bodyHash)
        return exit.verify(self.signature, of: transcript.exitSignedHash)
    }
}
