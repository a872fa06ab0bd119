//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import Nostr

/// Verifies the events of a connection in parallel, on all event loops of a relay.
///
/// The loop of the connection verifies events too, and then waits only for those that other loops have started. A busy
/// loop joins late and finds nothing left to do. The number of threads that verify events never exceeds the number of
/// event loops.
final class ParallelVerifier: Sendable {
    private let loops: [any EventLoop]

    /// Maximum number of events in a batch. It limits how long a helping loop delays its own connections.
    static let maximumBatchSize = 16
    /// Minimum size of a batch that is shared with other loops. For a smaller one, waking other loops costs more than
    /// it saves.
    private static let minimumSharedBatchSize = 8

    init(_ group: any EventLoopGroup) {
        self.loops = Array(group.makeIterator())
    }

    /// Verifies a batch of events and waits for the results.
    ///
    /// - Parameters:
    ///   - events: Events of one connection.
    ///   - loop: The event loop of the connection. The method must be called on it, and blocks it.
    ///   - alone: Whether to verify only on `loop`. Used for clients that sent forged events, so that they cannot use
    ///     the time of more than one loop.
    /// - Returns: The error of each event, in order, or nil if the event is valid.
    func verify(
        _ events: [ReceivedEvent],
        on loop: any EventLoop,
        alone: Bool = false
    ) -> [Event.VerificationError?] {
        guard events.count >= Self.minimumSharedBatchSize, self.loops.count > 1, !alone else {
            return events.map { Batch.verify($0) }
        }
        let batch = Batch(events)
        var helpers = events.count / 2 - 1
        for other in self.loops where other !== loop && helpers > 0 {
            other.execute { batch.work() }
            helpers -= 1
        }
        batch.work()
        return batch.results()
    }

    /// A batch of events. Each helping thread repeatedly takes the next event until none is left.
    private final class Batch: Sendable {
        private struct State {
            var next = 0
            var unfinished: Int
            var results: [Event.VerificationError?]
        }

        private let events: [ReceivedEvent]
        /// Protected by a lock that the thread sanitizer understands.
        private let state: NIOLockedValueBox<State>
        private let isFinished = ConditionLock(value: false)

        init(_ events: [ReceivedEvent]) {
            self.events = events
            self.state = NIOLockedValueBox(
                State(unfinished: events.count, results: Array(repeating: nil, count: events.count))
            )
        }

        func work() {
            while let index = self.take() {
                let result = Self.verify(self.events[index])
                let isLast = self.state.withLockedValue { state in
                    state.results[index] = result
                    state.unfinished -= 1
                    return state.unfinished == 0
                }
                if isLast {
                    self.isFinished.lock()
                    self.isFinished.unlock(withValue: true)
                }
            }
        }

        private func take() -> Int? {
            self.state.withLockedValue { state in
                guard state.next < state.results.count else { return nil }
                defer { state.next += 1 }
                return state.next
            }
        }

        /// Waits until all events are verified, and returns the results.
        func results() -> [Event.VerificationError?] {
            self.isFinished.lock(whenValue: true)
            self.isFinished.unlock()
            return self.state.withLockedValue { $0.results }
        }

        static func verify(_ received: ReceivedEvent) -> Event.VerificationError? {
            do {
                try received.event.verify()
                return nil
            } catch {
                return error
            }
        }
    }
}
