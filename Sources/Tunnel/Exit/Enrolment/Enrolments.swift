//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import TunnelProtocol

/// Is notified when a device was enrolled.
protocol EnrolmentsDelegate: AnyObject {
    /// The device has replaced the invite in the saved list.
    func enrolments(
        _ enrolments: Enrolments,
        didEnrol device: PublicKey,
        _ grant: AuthorizedKeys.Grant,
        insteadOf derived: [UInt8]
    )
}

/// Enrols devices: checks their requests, saves them, and answers.
///
/// A device sends its request in a stream to port 0 of a session that it opened with an invite. Such a session can open no
/// other stream.
final class Enrolments {
    private let context: ExitContext
    /// The invites of which a request is being processed.
    private var busy: Set<[UInt8]> = []
    /// The streams of devices that enrol, at most one for each session.
    private var streams: [ObjectIdentifier: EnrolmentStream] = [:]
    weak var delegate: (any EnrolmentsDelegate)?

    /// How long a session stays open after its device was enrolled, so that the answer arrives.
    private static let closingTime: TimeAmount = .seconds(10)
    /// The port that stands for enrolment. No service has it.
    static let port: UInt16 = 0

    init(context: ExitContext) { self.context = context }

    /// Accepts the stream in which a device enrols.
    func begin(_ session: IncomingSession, invite derived: [UInt8], as id: StreamID) -> StreamDecision {
        guard self.context.configuration.registry != nil else { return .refused(.notAllowed) }
        guard !session.hasOpenedEnrolment else { return .refused(.tooManyStreams) }
        session.hasOpenedEnrolment = true
        let stream = EnrolmentStream(
            carrier: session.link,
            id: id,
            onRequest: { [weak self, weak session] request in
                guard let self, let session else { return }
                self.receive(request, from: session, derived, as: id)
            },
            onEnd: { [weak self, weak session] in
                if let self, let session { self.streams[ObjectIdentifier(session)] = nil }
            }
        )
        self.streams[ObjectIdentifier(session)] = stream
        let bound = NIOLoopBound(session, eventLoop: self.context.loop)
        // In a later turn of the event loop, when the link knows the endpoint.
        self.context.loop.execute { bound.value.link.connected(id) }
        return .accepted(stream)
    }

    private func receive(
        _ request: EnrolmentRequest?,
        from session: IncomingSession,
        _ derived: [UInt8],
        as id: StreamID
    ) {
        guard let registry = self.context.configuration.registry else { return }
        do throws(EnrolmentFailure) {
            let request = try self.check(request, from: session, derived)
            self.busy.insert(derived)
            // The invite will be missing from the list before the device has its answer.
            session.isEnrolling = true
            let bound = NIOLoopBound(self, eventLoop: self.context.loop)
            let boundSession = NIOLoopBound(session, eventLoop: self.context.loop)
            NIOThreadPool.singleton.runIfActive(eventLoop: self.context.loop) {
                try registry.enrol(request.identity, name: request.name, insteadOf: derived)
            }.whenComplete { saved in
                bound.value.busy.remove(derived)
                bound.value.complete(saved, of: request, from: boundSession.value, derived)
            }
        } catch {
            self.refuse(error, session)
        }
    }

    private func check(
        _ request: EnrolmentRequest?,
        from session: IncomingSession,
        _ derived: [UInt8]
    ) throws(EnrolmentFailure) -> EnrolmentRequest {
        guard let invite = self.context.configuration.access?.invite(derived), !self.busy.contains(derived) else {
            throw .used
        }
        guard invite.isValid(at: Moment.now.seconds) else { throw .expired }
        guard let request, InviteSecret.verifier(of: request.token) == invite.verifier,
            let transcript = session.firstTranscript, request.isProven(by: transcript)
        else { throw .invalid }
        return request
    }

    private func complete(
        _ saved: Result<AuthorizedKeys.Grant, any Error>,
        of request: EnrolmentRequest,
        from session: IncomingSession,
        _ derived: [UInt8]
    ) {
        switch saved {
        case .success(let grant):
            self.delegate?.enrolments(self, didEnrol: request.identity, grant, insteadOf: derived)
            self.context.logger.notice(
                "device enrolled",
                metadata: ["device": "\(grant.comment)", "identity": "\(request.identity.npub)"]
            )
            self.answer(.enrolled(self.services(for: grant)), session)
        case .failure(let error):
            self.refuse(error as? EnrolmentFailure ?? .notSaved("\(error)"), session)
        }
    }

    private func refuse(_ failure: EnrolmentFailure, _ session: IncomingSession) {
        self.context.metrics.streamsForbidden.increment()
        self.context.logLimited(
            failure.end == .unreachable ? .error : .warning,
            "device not enrolled",
            ["reason": "\(failure)", "peer": "\(session.offer.client)"]
        )
        session.isEnrolling = false
        self.answer(.refused(failure.end), session)
    }

    private func answer(_ answer: EnrolmentAnswer, _ session: IncomingSession) {
        self.streams[ObjectIdentifier(session)]?.answer(answer)
        self.closeLater(session)
    }

    private func services(for grant: AuthorizedKeys.Grant) -> EnrolmentAnswer.Services {
        let services = self.context.configuration.services
        let ports = services.byPort.keys.filter { grant.services?.contains($0) ?? true }
        return EnrolmentAnswer.Services(
            ports: ports.sorted(),
            servesOthers: services.fallback != nil && grant.services == nil
        )
    }

    /// Ends a session that has no purpose any more.
    private func closeLater(_ session: IncomingSession) {
        let bound = NIOLoopBound(session, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: Self.closingTime) { bound.value.close(nil) }
    }
}
