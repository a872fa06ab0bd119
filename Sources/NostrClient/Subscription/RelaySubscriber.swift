//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Nostr
package import NostrCrypto

/// Receives tunnel messages from relays, for the keys for which it is the subscriber.
///
/// All methods are called on the relay connection's event loop.
package protocol RelaySubscriber: AnyObject {
    /// An event of kind 28333 whose `p` tag names `key`. Its id and signature are not verified.
    func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey)
    /// The subscription for `key` became active. Called after ``RelayConnection/subscribe(_:to:catchesUp:)`` returned
    /// false, and again after each reconnect.
    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey)
    /// A REQ for `key` was sent. A relay that processes messages in order knows the key before anything that is sent later.
    func relay(_ relay: RelayConnection, didRequest key: PublicKey)
    /// The relay rejected the REQ for `key`. It is sent again later.
    func relay(_ relay: RelayConnection, didReject key: PublicKey)
    /// The connection ended. ``RelayConnection`` reconnects and subscribes again without further calls.
    func relayDidDisconnect(_ relay: RelayConnection)
    /// The send buffer ran full (false) or drained (true).
    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool)
}

extension RelaySubscriber {
    package func relay(_ relay: RelayConnection, didRequest key: PublicKey) {}
    package func relay(_ relay: RelayConnection, didReject key: PublicKey) {}
}
