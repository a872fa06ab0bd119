//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// The client's result of the handshake: a verified acceptance, and the keys of the session.
struct AcceptedSession {
    let acceptance: SessionAcceptance
    let transcript: SessionTranscript
    /// The offer that the exit accepted.
    let offering: SessionOffering
    /// Encrypts the packets of the session.
    let sealer: MessageSealer
    let exchange: SessionKeyExchange
    /// Whether the exit has proven that it has the credential of the offer.
    let exitKnowsClient: Bool
    /// Number of bytes that the exit took for the stream of the offer. Nil if it did not open the stream.
    let openedBytes: Int?
}
