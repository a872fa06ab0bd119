//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Logging
package import NIOCore
package import Nostr
import NostrCrypto

/// Tests whether a relay can carry tunnels. The test publishes a small and then a large message to its own key, and
/// waits until the relay delivers them. Then it publishes some small ones at once, to find a limit on the rate.
package enum RelayExamination {
    /// The result of the test.
    package struct Finding: Sendable {
        package let url: RelayURL
        package fileprivate(set) var information = RelayInformation()
        /// Where the relay's host answers STUN requests.
        package fileprivate(set) var stunServers: [SocketAddress] = []
        /// Seconds by which the relay's clock is ahead of this machine's. Nil if the relay did not report its time.
        package fileprivate(set) var clockOffset: Int64?
        /// Why the relay could not be reached or did not answer, or why the connection ended during the test; nil
        /// otherwise.
        package fileprivate(set) var connectionError: String?
        /// Whether the relay asked for fewer attempts to connect (HTTP 429 or 503, or `Retry-After`).
        package fileprivate(set) var isBusy = false
        /// Milliseconds from sending the small message to receiving it; nil if it was not received.
        package fileprivate(set) var roundTrip: Double?
        /// Whether the large message of the test was received.
        package fileprivate(set) var carriesLargeMessages = false
        /// Number of messages that the relay accepted of those that were sent at once. Nil if there was no such test.
        package fileprivate(set) var acceptedOfBurst: Int?
        /// Whether the relay rejected a message because of its rate limit.
        package fileprivate(set) var limitsRate = false
        /// Why the relay rejected a message.
        package fileprivate(set) var refusal: ReasonText?
    }

    /// How much is sent in a test.
    package enum Extent: Sendable {
        /// For relays that are to carry transfers: a message of 40 KiB, and a burst of 10.
        case full
        /// A light test, for relays that belong to others: a message of 16 KiB, and a burst of 4.
        case small

        /// Number of messages that are sent at once.
        package var burstLength: Int { self == .full ? 10 : 4 }
        /// Plaintext bytes of the large message: the base packet size of sessions, or the largest within a budget.
        var largePlaintext: Int { self == .full ? 40_960 : EventBudget.maximumPlaintext }
    }

    /// Timeout for each step of the test.
    private static let timeout: TimeAmount = .seconds(8)
    /// Plaintext bytes of a small message.
    private static let smallPlaintext = 32

    /// Examines one relay.
    package static func examine(
        _ url: RelayURL,
        extent: Extent = .full,
        configuration: RelayClientConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> Finding {
        let promise = loop.makePromise(of: Finding.self)
        let examiner = try await loop.submit {
            let examiner = Examiner(url, extent, loop: loop, promise: promise)
            examiner.start(configuration: configuration, logger: logger)
            return NIOLoopBound(examiner, eventLoop: loop)
        }.get()
        return try await withTaskCancellationHandler {
            try await promise.futureResult.get()
        } onCancel: {
            loop.execute { examiner.value.finish() }
        }
    }

    /// One examination, on its event loop. Its timer keeps it alive until it has finished.
    private final class Examiner: RelayConnectionDelegate, RelaySubscriber {
        private var finding: Finding
        private let extent: Extent
        private let key = SecretKey.generate()
        private let loop: any EventLoop
        private let promise: EventLoopPromise<Finding>
        private var pool: RelayPool?
        private var relay: RelayConnection?
        private var small: (id: EventID, sentAt: NIODeadline)?
        private var large: EventID?
        private var unanswered = 0
        private var timer: Scheduled<Void>?

        init(_ url: RelayURL, _ extent: Extent, loop: any EventLoop, promise: EventLoopPromise<Finding>) {
            self.finding = Finding(url: url)
            self.extent = extent
            self.loop = loop
            self.promise = promise
        }

        func start(configuration: RelayClientConfiguration, logger: Logger) {
            let pool = RelayPool(
                configuration: configuration,
                lingering: .zero,
                loop: self.loop,
                logger: logger,
                delegate: self
            )
            self.pool = pool
            self.restartTimer()
            self.relay = pool.use(
                self.finding.url,
                in: RelayLane(),
                policy: .configured,
                authenticationKey: self.key
            )
            guard let relay else {
                self.finding.connectionError = "too many connections"
                self.finish()
                return
            }
            _ = relay.subscribe(self.key.publicKey, to: self, catchesUp: false)
        }

        func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
            guard case .disconnected(let reason) = state else { return }
            self.finding.connectionError = reason
            self.finding.isBusy = relay.isBusy
            // Do not wait for a relay that cannot be reached now.
            if self.small == nil { self.finish() }
        }

        func relay(_ relay: RelayConnection, didSubscribe key: PublicKey) { self.sendSmall() }

        func relayDidDisconnect(_ relay: RelayConnection) {}

        func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool) {}

        private func restartTimer() {
            self.timer?.cancel()
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.timer = self.loop.scheduleTask(in: RelayExamination.timeout) { bound.value.finish() }
        }

        /// Creates an event of the same size as one that encrypts this many bytes. Events with another number differ.
        private func message(_ length: Int, number: Int = 0) -> Event? {
            try? Event.signed(
                by: self.key,
                createdAt: UnixTime.now,
                kind: .tunnelMessage,
                tags: [Tag("p", ByteString(self.key.publicKey.hex))],
                content: ByteBuffer(
                    repeating: UInt8(ascii: "A") + UInt8(number),
                    count: NIP44.payloadLength(plaintextLength: length)
                )
            )
        }

        private func publish(_ event: Event) {
            self.relay?.publish(event.id, ClientMessage.encodeEvent(event)) { [weak self] result in
                guard case .rejected(let reason) = result else { return }
                self?.finding.refusal = reason
                if reason.prefix == .rateLimited { self?.finding.limitsRate = true }
                self?.finish()
            }
        }

        private func sendSmall() {
            guard self.small == nil, let event = self.message(RelayExamination.smallPlaintext) else { return }
            self.finding.connectionError = nil
            self.small = (event.id, .now())
            self.restartTimer()
            self.publish(event)
        }

        func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey) {
            if let small, event.id == small.id, self.finding.roundTrip == nil {
                self.finding.roundTrip = Double((NIODeadline.now() - small.sentAt).nanoseconds) / 1_000_000
                guard let event = self.message(self.extent.largePlaintext) else { return }
                self.large = event.id
                self.restartTimer()
                self.publish(event)
            } else if event.id == self.large {
                self.finding.carriesLargeMessages = true
                self.sendBurst()
            }
        }

        private func sendBurst() {
            self.large = nil
            self.restartTimer()
            let events = (1...self.extent.burstLength).compactMap { number in
                self.message(RelayExamination.smallPlaintext, number: number)
            }
            self.unanswered = events.count
            self.finding.acceptedOfBurst = 0
            for event in events {
                self.relay?.publish(event.id, ClientMessage.encodeEvent(event)) { [weak self] result in
                    self?.receive(result)
                }
            }
        }

        private func receive(_ result: PublishResult) {
            switch result {
            // Some relays never send OK.
            case .accepted, .unanswered: self.finding.acceptedOfBurst? += 1
            case .rejected(let reason):
                if reason.prefix == .rateLimited { self.finding.limitsRate = true }
            case .held: self.finding.limitsRate = true
            case .unreachable, .lost: break
            }
            self.unanswered -= 1
            if self.unanswered == 0 { self.finish() }
        }

        func finish() {
            guard let pool = self.pool else { return }
            self.pool = nil
            self.timer?.cancel()
            if let relay {
                self.finding.information = relay.information
                self.finding.stunServers = relay.stunServers
                self.finding.clockOffset = relay.clockOffset
                if self.small == nil {
                    self.finding.connectionError =
                        self.finding.connectionError ?? relay.lastError ?? "the relay does not answer"
                }
            }
            pool.stop()
            self.promise.succeed(self.finding)
        }
    }
}
