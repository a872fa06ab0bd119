//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
import NIOCore
import Nostr

/// Verifies what one connection sent on all of a relay's loops.
///
/// The connection's loop does what nobody else does, and waits only for what another has begun. A loop that is busy comes
/// too late and finds nothing, so helping costs nobody much, and no more threads verify than there are loops.
final class VerificationTeam: Sendable {
    private let loops: [any EventLoop]

    /// Most events of one go: what a helper does at most keeps its own connections waiting.
    static let mostAtOnce = 16
    /// Fewer are not worth waking anybody up.
    private static let fewestShared = 8

    init(_ group: any EventLoopGroup) {
        self.loops = Array(group.makeIterator())
    }

    /// What is wrong with each of `events`, in their order; nil where nothing is. Called on `loop`, which waits.
    ///
    /// - Parameter alone: Whether nobody is to help, as with a client that sent forged events: it gets one loop's time at most.
    func verify(
        _ events: [ReceivedEvent],
        on loop: any EventLoop,
        alone: Bool = false
    ) -> [Event.VerificationError?] {
        guard events.count >= Self.fewestShared, self.loops.count > 1, !alone else {
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

    /// Events of which each is taken by whoever comes first.
    private final class Batch: Sendable {
        private struct State {
            var next = 0
            var unfinished: Int
            var results: [Event.VerificationError?]
        }

        private let events: [ReceivedEvent]
        /// A lock that the thread sanitizer knows.
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

        /// Waits for what others have begun.
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
