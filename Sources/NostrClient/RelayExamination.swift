//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
public import NIOCore
public import Nostr
import NostrCrypto

/// Tries whether a relay is good for tunnels: sends itself a message, small and large, and waits for it.
public enum RelayExamination {
    /// What a relay did.
    public struct Finding: Sendable {
        public let url: RelayURL
        public internal(set) var information = RelayInformation()
        /// Seconds by which the relay's clock is ahead of this machine's; nil if it does not tell the time.
        public internal(set) var clockOffset: Int64?
        /// Why there is no connection.
        public internal(set) var connectionError: String?
        /// From sending a small message to having it back, in milliseconds; nil if it did not come.
        public internal(set) var roundTrip: Double?
        /// Whether a message of the largest size that sessions use came back.
        public internal(set) var carriesFullPackets = false
        /// Why the relay took no message.
        public internal(set) var refusal: ReasonText?
    }

    /// For each of the steps.
    private static let patience: TimeAmount = .seconds(8)
    /// Bytes of a small message, and of the largest that sessions send.
    private static let plaintextLengths = (small: 32, full: 40_960)

    /// Examines one relay.
    public static func examine(
        _ url: RelayURL,
        configuration: RelayClientConfiguration,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> Finding {
        let promise = loop.makePromise(of: Finding.self)
        loop.execute {
            let examiner = Examiner(url, loop: loop, promise: promise)
            examiner.start(configuration: configuration, logger: logger)
        }
        return try await promise.futureResult.get()
    }

    /// One examination, on the loop.
    private final class Examiner {
        private var finding: Finding
        private let key = SecretKey.generate()
        private let loop: any EventLoop
        private let promise: EventLoopPromise<Finding>
        private var pool: RelayPool?
        private let poolKey: RelayPool.Key
        private var small: (id: EventID, sentAt: NIODeadline)?
        private var large: EventID?
        private var timer: Scheduled<Void>?

        init(_ url: RelayURL, loop: any EventLoop, promise: EventLoopPromise<Finding>) {
            self.finding = Finding(url: url)
            self.poolKey = RelayPool.Key(url: url, lane: "examination")
            self.loop = loop
            self.promise = promise
        }

        func start(configuration: RelayClientConfiguration, logger: Logger) {
            // The pool and its callbacks keep this alive until it is finished.
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            let pool = RelayPool(
                configuration: configuration,
                lingering: .zero,
                loop: self.loop,
                logger: logger,
                callbacks: RelayPool.Callbacks(
                    onEvent: { bound.value.receive($1.event) },
                    onDown: { bound.value.down($1) }
                )
            )
            self.pool = pool
            self.wait()
            guard let connection = pool.use(self.poolKey, policy: .configured, authenticationKey: self.key) else {
                self.finding.connectionError = "TLS cannot be set up"
                self.finish()
                return
            }
            connection.addRecipient(self.key.publicKey) { bound.value.sendSmall() }
        }

        /// One that cannot be reached now is not waited for.
        private func down(_ error: String) {
            self.finding.connectionError = error
            if self.small == nil { self.finish() }
        }

        private func wait() {
            self.timer?.cancel()
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.timer = self.loop.scheduleTask(in: RelayExamination.patience) { bound.value.finish() }
        }

        /// As large as one that holds so many bytes.
        private func message(_ length: Int) -> Event? {
            try? Event.signed(
                by: self.key,
                createdAt: RelayConnection.now(),
                kind: .tunnelMessage,
                tags: [Tag("p", ByteString(self.key.publicKey.hex))],
                content: ByteBuffer(repeating: UInt8(ascii: "A"), count: NIP44.payloadLength(plaintextLength: length))
            )
        }

        private func publish(_ event: Event) {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.pool?.connection(self.poolKey)?.publish(event.id, ClientMessage.encodeEvent(event)) { result in
                guard case .rejected(let reason) = result else { return }
                bound.value.finding.refusal = reason
                bound.value.finish()
            }
        }

        private func sendSmall() {
            guard self.small == nil, let event = self.message(RelayExamination.plaintextLengths.small) else { return }
            self.finding.connectionError = nil
            self.small = (event.id, .now())
            self.wait()
            self.publish(event)
        }

        private func receive(_ event: Event) {
            if let small, event.id == small.id, self.finding.roundTrip == nil {
                self.finding.roundTrip = Double((NIODeadline.now() - small.sentAt).nanoseconds) / 1_000_000
                guard let event = self.message(RelayExamination.plaintextLengths.full) else { return }
                self.large = event.id
                self.wait()
                self.publish(event)
            } else if event.id == self.large {
                self.finding.carriesFullPackets = true
                self.finish()
            }
        }

        private func finish() {
            guard let pool = self.pool else { return }
            self.pool = nil
            self.timer?.cancel()
            if let connection = pool.connection(self.poolKey) {
                self.finding.information = connection.information
                self.finding.clockOffset = connection.clockOffset
                if self.small == nil {
                    self.finding.connectionError =
                        self.finding.connectionError ?? connection.lastError ?? "it does not answer"
                }
            }
            pool.stop()
            self.promise.succeed(self.finding)
        }
    }
}
