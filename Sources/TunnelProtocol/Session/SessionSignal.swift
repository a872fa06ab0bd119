//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// Additional actions of a session. The driver holds the secret keys.
package enum SessionSignal: Hashable, Sendable {
    /// Create a key of this generation, subscribe to it, and call ``SessionStateMachine/keyPrepared(_:_:at:)``.
    case makeKey(generation: Int)
    /// Store the peer's key of this generation. From now on, decrypt messages that use the keys of this generation.
    case pair(generation: Int, PublicKey)
    /// Encrypt with the keys of this generation from now on.
    case sealUnder(generation: Int)
    /// Erase the keys of this generation.
    case eraseKey(generation: Int)
    /// The client sent its identity (exit). Verify it before accepting the streams that the client opens.
    case identified(ClientIdentity)
    /// The exit uses an additional relay (client). Connect to it, if its address is allowed, and add the path.
    case pathOffered(SessionPathOffer)
    /// The exit may have lost the session (client). Ask it whether it still knows the session.
    case askPeer
    /// The session and all its streams ended. The reason is nil if there was no error.
    case closed(StreamEnd?)
}
