//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrClient
import TunnelProtocol

/// The owner of a ``PeerLink``. Decides about incoming streams and handles signals of the engine.
protocol PeerLinkDelegate<Engine>: AnyObject {
    associatedtype Engine: StreamEngine

    /// The peer opens a stream (exit).
    func link(_ link: PeerLink<Engine>, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision
    /// The engine has emitted a signal.
    func link(_ link: PeerLink<Engine>, didReceive signal: Engine.Signal)
    /// A relay rejects events of authors that it does not know.
    func link(_ link: PeerLink<Engine>, wasRejectedBy relay: RelayConnection)
    /// The last stream ended.
    func linkDidBecomeIdle(_ link: PeerLink<Engine>)
}
