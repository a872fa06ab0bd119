//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// What a session asks its driver for beyond the actions of every engine. The driver keeps the keys.
public enum SessionSignal: Hashable, Sendable {
    /// Make a key of this generation, subscribe to it, and answer with ``SessionStateMachine/keyPrepared(_:_:at:)``.
    case makeKey(generation: Int)
    /// The peer's key of this generation. Messages between both keys are decrypted from now on.
    case pair(generation: Int, PublicKey)
    /// Seal with the keys of this generation from now on.
    case sealUnder(generation: Int)
    /// Erase the keys of this generation.
    case eraseKey(generation: Int)
    /// The client named its identity: verify it before the streams that it opens (exit).
    case identified(ClientIdentity)
    /// The exit uses one more relay: connect to it, if that is allowed, and add the path (client).
    case pathOffered(SessionPathOffer)
    /// The exit has not answered for too long: ask whether it still knows the session (client).
    case askPeer
    /// The session and all its streams ended.
    case closed(StreamEnd?)
}
