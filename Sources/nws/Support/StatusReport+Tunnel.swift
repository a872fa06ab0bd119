//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Observability
import Tunnel

extension StatusReport {
    /// Copies the status of an entry or exit into the report.
    mutating func take(_ status: TunnelStatus) {
        self.isReady = status.isReady
        self.streams = status.streams
        self.services = status.services.map { Service(port: $0.port.map { Int($0) }, target: $0.target) }
        self.relays = status.relays.map { relay in
            Relay(
                url: relay.url.text,
                isUp: relay.isUp,
                error: relay.isUp ? nil : relay.error,
                roundTrip: relay.roundTrip,
                loss: relay.sentPackets > 0 ? Double(relay.lostPackets) / Double(relay.sentPackets) : nil,
                sessions: relay.sessions,
                bytes: relay.bytes,
                limitedRate: relay.limitedRate
            )
        }
        let peers = status.peers.sorted { ($0.streams, $0.age) > ($1.streams, $1.age) }
        self.sessions = peers.prefix(Self.maximumSessions).map { peer in
            var session = Session(
                peer: peer.name,
                device: peer.device,
                protocol: peer.isSession ? "session" : "nip74",
                streams: peer.streams,
                age: peer.age
            )
            switch peer.direct {
            case .path(let path):
                session.direct = DirectPath(
                    address: path.address,
                    roundTrip: path.roundTrip,
                    loss: path.sentPackets > 0 ? Double(path.lostPackets) / Double(path.sentPackets) : nil,
                    bytes: path.bytes
                )
            case .none(let reason)?: session.reasonForRelays = reason.rawValue
            case nil: break
            }
            return session
        }
        self.moreSessions = max(0, peers.count - Self.maximumSessions)
    }
}
