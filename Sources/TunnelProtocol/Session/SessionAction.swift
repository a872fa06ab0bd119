//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// What a session wants done beside publishing and handing over bytes. Keys stay with the driver.
public enum SessionAction: Hashable, Sendable {
    /// Make a key of this generation, hear messages for it, and answer with ``Dialect/keyPrepared(_:_:at:)``.
    case makeKey(generation: Int)
    /// The peer's key of this generation; from now on messages between both are opened.
    case pair(generation: Int, PublicKey)
    /// Seal under this generation from now on.
    case sealUnder(generation: Int)
    /// Erase the keys of this generation; nothing under them is opened any more.
    case eraseKey(generation: Int)
    /// The client says who it is: check that, before the streams that it opens are looked at (exit).
    case identified(ClientIdentity)
    /// The peer hears the session on one more relay: connect to it, if it may be dialled, and add the path.
    case pathOffered(SessionPathOffer)
    /// The exit has not answered for too long: ask whether it still knows the session.
    case askPeer
    /// The session is over, and its streams with it.
    case closed(StreamEnd?)
}
