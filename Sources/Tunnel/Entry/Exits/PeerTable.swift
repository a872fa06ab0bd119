//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient
import TunnelProtocol

/// Is notified of changes of a ``PeerTable``.
protocol PeerTableDelegate: AnyObject {
    /// The last stream of a peer has ended.
    func peerTableDidBecomeIdle(_ table: PeerTable)
    func peerTable(_ table: PeerTable, willRemove peer: ExitPeer)
}

/// The exits that an entry uses. Finds them by address, limits their number, and closes those that are idle.
final class PeerTable {
    private let context: EntryContext
    private var peers: [ExitAddress: ExitPeer] = [:]
    /// Peers that are not used for new requests.
    private var retired: [ExitPeer] = []
    weak var delegate: (any PeerTableDelegate)?

    init(context: EntryContext) {
        self.context = context
    }

    var all: [ExitPeer] { Array(self.peers.values) + self.retired }

    var streamCount: Int { self.all.reduce(0) { $0 + $1.link.streamCount } }

    func contains(_ address: ExitAddress) -> Bool { self.peers[address] != nil }

    /// Returns the peer of an address. Creates it if there is none.
    ///
    /// - Parameter policy: The policy for the relays of the address.
    /// - Throws: ``EntryError/tooManyExits`` if all peers are in use.
    func peer(_ address: ExitAddress, policy: DialPolicy) throws(EntryError) -> ExitPeer {
        if let peer = self.peers[address] {
            guard peer.isOutdated else { return peer }
            // Open streams stay with the old peer.
            self.exitPeerDidRetire(peer)
        }
        self.makeRoom(for: address)
        guard self.all.count < self.context.configuration.maximumExits else { throw .tooManyExits }
        let peer = ExitPeer(address, policy: policy, context: self.context)
        peer.delegate = self
        self.peers[address] = peer
        peer.start(policy: policy)
        return peer
    }

    /// Closes idle peers, the longest idle first, until there is room for another peer and its relays.
    private func makeRoom(for address: ExitAddress) {
        let lane =
            address.isolation.isEmpty ? self.context.lane : RelayLane(isolation: address.isolation)
        let relays = address.relays.count { !self.context.pool.contains($0, in: lane) }
        while self.all.count >= self.context.configuration.maximumExits || self.context.pool.room < relays {
            let idle = self.all.compactMap { peer in peer.idleSince.map { (peer, $0) } }
            guard let oldest = idle.min(by: { $0.1 < $1.1 })?.0 else { return }
            oldest.close(nil)
        }
    }

    /// Closes peers that have been idle for `idleTime`.
    func sweep(unusedFor idleTime: TimeAmount) {
        for peer in self.all {
            if let since = peer.idleSince, since + idleTime <= .now() { peer.close(nil) }
        }
    }

    /// Fails all waiting requests.
    func failWaiting(_ error: EntryError) {
        for peer in self.all { peer.failWaiting(error) }
    }

    /// Closes all peers.
    func close(_ reason: StreamEnd) {
        for peer in self.all { peer.close(reason) }
    }
}

extension PeerTable: ExitPeerDelegate {
    func exitPeerDidRetire(_ peer: ExitPeer) {
        guard self.peers[peer.address] === peer else { return }
        self.peers[peer.address] = nil
        self.retired.append(peer)
    }

    func exitPeerDidClose(_ peer: ExitPeer) {
        self.delegate?.peerTable(self, willRemove: peer)
        if self.peers[peer.address] === peer { self.peers[peer.address] = nil }
        self.retired.removeAll { $0 === peer }
    }

    func exitPeerDidBecomeIdle(_ peer: ExitPeer) { self.delegate?.peerTableDidBecomeIdle(self) }
}
