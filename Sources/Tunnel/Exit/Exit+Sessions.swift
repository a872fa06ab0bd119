//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension Exit: EnrolmentsDelegate {
    func enrolments(
        _ enrolments: Enrolments,
        didEnrol device: PublicKey,
        _ grant: AuthorizedKeys.Grant,
        insteadOf derived: [UInt8]
    ) {
        self.context.configuration.access?.enrol(device, grant, insteadOf: derived)
        self.clients.updateAccess()
    }
}

extension Exit: SessionsDelegate {
    func sessions(
        _ sessions: Sessions,
        isAskedFor request: StreamRequest,
        as id: StreamID,
        in session: IncomingSession
    ) -> StreamDecision {
        guard self.drain == nil else { return .refused(.shuttingDown) }
        if let invite = session.invite, request.port == Enrolments.port {
            return self.enrolments.begin(session, invite: invite, as: id)
        }
        guard session.admitStream(id, to: Admission.permission(for: request, self.context.configuration)) else {
            // The answer does not reveal whether the service exists.
            self.context.metrics.streamsForbidden.increment()
            self.logRefusal(of: request, in: session, as: id)
            return .refused(.notAllowed)
        }
        let client = StreamClient(
            peer: session.offer.client,
            identity: session.identity(for: id),
            isPlain: false,
            sessionStreams: session.link.streamCount,
            sessions: sessions.count
        )
        return self.connector.connect(request, of: client, carrier: session.link, id: id)
    }

    private func logRefusal(of request: StreamRequest, in session: IncomingSession, as id: StreamID) {
        let configuration = self.context.configuration
        var metadata: Logger.Metadata = ["peer": "\(session.offer.client)", "port": "\(request.port ?? 0)"]
        guard let identity = session.identity(for: id) else {
            self.context.logLimited(.info, "stream refused: the client has not proven an identity", metadata)
            return
        }
        metadata["identity"] = "\(identity.npub)"
        metadata["device"] = "\(configuration.comment(of: identity) ?? "")"
        let isKnown = configuration.access?.contains(identity, at: Moment.now.seconds) ?? false
        self.context.logLimited(
            .info,
            isKnown
                ? "stream refused: the device is not allowed to use this service"
                : "stream refused: the device's access has expired or was revoked",
            metadata
        )
    }

    func sessions(_ sessions: Sessions, admitOnce offer: SessionOffer, of client: PublicKey) -> Bool? {
        if self.replays.admitOnce(offer.key, offer.createdAt, of: client) { return true }
        return self.replays.cannotRecord ? nil : false
    }

    func sessions(_ sessions: Sessions, ticketFor identity: PublicKey) -> Bytes32? {
        self.clients.issueTicket(to: identity)
    }

    func sessions(_ sessions: Sessions, use ticket: UInt64, by offer: Bytes32) -> Bool {
        self.clients.useTicket(ticket, by: offer)
    }

    func sessions(_ sessions: Sessions, didUse offer: OfferID) { self.clients.recordUse() }

    func sessions(_ sessions: Sessions, offerBegan offer: OfferID) { self.clients.offerBegan(of: offer.client) }

    func sessions(_ sessions: Sessions, offerEnded offer: OfferID, hasBegun: Bool) {
        if hasBegun { self.clients.offerSettled(offer.key, of: offer.client) }
        self.clients.offerEnded(of: offer.client)
    }
}
