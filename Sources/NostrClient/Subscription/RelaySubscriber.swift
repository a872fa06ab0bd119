//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Nostr
package import NostrCrypto

/// Receives the tunnel messages that a relay delivers for the keys that it subscribed to.
///
/// All methods are called on the relay connection's event loop.
package protocol RelaySubscriber: AnyObject {
    /// An event of kind 28333 whose `p` tag names `key`. Its id and signature are not verified.
    func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey)
    /// The subscription for `key` became active after ``RelayConnection/subscribe(_:to:catchesUp:)`` returned, or again
    /// after a reconnect.
    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey)
    /// The connection ended. The relay reconnects and subscribes again by itself.
    func relayDidDisconnect(_ relay: RelayConnection)
    /// The send buffer ran full (false) or drained (true).
    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool)
}
