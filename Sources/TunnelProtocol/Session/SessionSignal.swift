//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// Additional actions of a session. The driver holds the secret keys.
package enum SessionSignal: Hashable, Sendable {
    /// Create the client's keys of this generation, subscribe to the session key, and call
    /// ``SessionStateMachine/keyPrepared(_:at:)`` (client).
    case makeKey(generation: Int)
    /// Create the exit's keys of the generation in the client's message, subscribe to the session key, and call
    /// ``SessionStateMachine/keyPrepared(_:at:)`` (exit). From then on, decrypt messages of this generation.
    case answerKey(KeyUpdate)
    /// Derive the keys of a generation from the exit's message (client). From now on, decrypt messages of this generation.
    case completeKey(KeyUpdate)
    /// Encrypt with the keys of this generation from now on.
    case sealUnder(generation: Int)
    /// Erase the keys of this generation.
    case eraseKey(generation: Int)
    /// The client sent its identity (exit). Verify it before accepting the streams that the client opens.
    case identified(ClientIdentity)
    /// The exit uses an additional relay (client). Connect to it, if its address is allowed, and add the path.
    case pathOffered(SessionPathOffer)
    /// The exit sent a ticket for the next session (client). It is valid for this number of seconds.
    case ticket(Bytes32, lifetime: UInt64)
    /// The client reports that another exit uses the same key (exit). Verify it.
    case duplicateKey(DuplicateKeyReport)
    /// The exit may have lost the session (client). Ask it whether it still knows the session.
    case askPeer
    /// A frame about the direct path: a connection ID, or addresses of the peer.
    case direct(SessionFrame)
    /// Packets on the direct path were not acknowledged in time. Call ``DirectPath/suspect(at:)``.
    case directPathIsSilent
    /// The session and all its streams ended. The reason is nil if there was no error.
    case closed(StreamEnd?)
}
