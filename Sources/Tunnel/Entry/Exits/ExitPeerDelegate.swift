//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Is notified of changes of an ``ExitPeer`` that affect the table of peers.
protocol ExitPeerDelegate: AnyObject {
    /// New requests must use another peer. This peer stays open until its streams have ended.
    func exitPeerDidRetire(_ peer: ExitPeer)
    /// The peer was closed and has released its relays.
    func exitPeerDidClose(_ peer: ExitPeer)
    /// The last stream ended.
    func exitPeerDidBecomeIdle(_ peer: ExitPeer)
}
