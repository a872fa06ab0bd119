//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// An exit's answer to an offer or a session query. It is encrypted with NIP-44 between the exit's fresh key and the
/// client's key, and signed by the exit's long-term key.
package enum SessionAnswer: Hashable, Sendable {
    /// The exit accepts the offer.
    case accepted(SessionAcceptance)
    /// The exit rejects the offer, or does not know the session.
    case refused(SessionRefusal)

    /// Decodes an answer. Returns nil if it is malformed. The signature is not verified.
    package init?(plaintext: [UInt8]) {
        switch plaintext.first.flatMap(PlaintextKind.init(rawValue:)) {
        case .acceptance:
            guard let acceptance = SessionAcceptance(plaintext: plaintext) else { return nil }
            self = .accepted(acceptance)
        case .refusal:
            guard let refusal = SessionRefusal(plaintext: plaintext) else { return nil }
            self = .refused(refusal)
        case .clientPacket, .exitPacket, nil: return nil
        }
    }

    /// Returns whether the exit has signed this answer to an offer.
    ///
    /// - Parameters:
    ///   - exit: The exit's long-term public key.
    ///   - offerHash: ``VersionedOffer/hash(exit:client:uuid:)``.
    ///   - fresh: The author of the event.
    package func isSigned(by exit: PublicKey, offerHash: Bytes32, fresh: PublicKey) -> Bool {
        switch self {
        case .accepted(let acceptance):
            let transcript = SessionTranscript(offerHash: offerHash, fresh: fresh, body: acceptance.body)
            return exit.verify(acceptance.signature, of: transcript.exitSignedHash)
        case .refused(let refusal):
            return exit.verify(
                refusal.signature,
                of: SessionRefusal.signedHash(offerHash: offerHash, fresh: fresh, body: refusal.body)
            )
        }
    }
}
