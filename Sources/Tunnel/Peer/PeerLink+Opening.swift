//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import TunnelProtocol

/// A link that uses plain NIP-74.
typealias PlainLink = PeerLink<NIP74StateMachine>
/// A link of a session.
typealias SessionLink = PeerLink<SessionStateMachine>

extension PeerLink where Engine == NIP74StateMachine {
    /// Opens a stream. Uses the path whose relay first accepts the request.
    func open(_ request: StreamRequest, paths: [PathID], endpoint: any AttachableEndpoint) {
        let id = self.makeStream(endpoint)
        endpoint.attach(to: self, as: id, earlyBytes: 0)
        self.update { $0.open(id, request, paths: paths, at: $1) }
    }

    /// Opens a stream and offers a session with it.
    func open(offering offer: OutgoingOffer, paths: [PathID], endpoint: any AttachableEndpoint) {
        let id = self.makeStream(endpoint)
        endpoint.attach(to: self, as: id, earlyBytes: 0)
        self.update { $0.open(id, offering: offer, paths: paths, at: $1) }
    }
}

extension PeerLink where Engine == SessionStateMachine {
    /// Opens a stream. Returns false without opening it if the peer's limit on streams is reached.
    ///
    /// - Parameters:
    ///   - earlyBytes: Number of the stream's first bytes that the peer has already received.
    ///   - hasAlternative: Whether another exit is tried if this one fails.
    func open(
        _ request: StreamRequest,
        earlyBytes: Int,
        hasAlternative: Bool,
        endpoint: any AttachableEndpoint
    ) -> Bool {
        guard self.engine.hasRoomForStream else { return false }
        let id = self.makeStream(endpoint)
        endpoint.attach(to: self, as: id, earlyBytes: earlyBytes)
        self.update {
            $0.open(id, request, hasAlternative: hasAlternative, at: $1)
            $0.assumeSent(id, earlyBytes)
        }
        return true
    }
}

extension PublishOutcome {
    /// How long a message waits for authentication.
    private static let authenticationTime: TimeAmount = .milliseconds(250)

    /// Converts the result of a publication to an outcome for an engine.
    init(_ result: PublishResult, path: PathID) {
        self =
            switch result {
            // Some relays never send OK.
            case .accepted, .unanswered: .accepted(path)
            case .rejected(let reason):
                switch reason.prefix {
                case .rateLimited: .rejected(.rateLimited)
                // The connection authenticates meanwhile, so a later attempt may succeed.
                case .authRequired: .rejected(.held(Self.authenticationTime))
                case .mute: .rejected(.noSubscriber)
                case .duplicate, .pow, .blocked, .invalid, .restricted, .error, nil: .rejected(.refused)
                }
            case .held(let time): .rejected(.held(time))
            case .unreachable: .rejected(.unreachable)
            case .lost: .lost
            }
    }
}

extension PublishResult {
    /// Whether the rejection indicates that the relay accepts only events of authors that it knows.
    var rejectsUnknownAuthors: Bool {
        guard case .rejected(let reason) = self else { return false }
        return reason.prefix == .restricted || reason.prefix == .blocked
    }
}
