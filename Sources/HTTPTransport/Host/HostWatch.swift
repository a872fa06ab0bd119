//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CHostEvents
import NIOConcurrencyHelpers
package import NIOCore
import NIOPosix

/// Reports when open connections may no longer work: an address or route of the machine has changed, its clock was set, or
/// it has resumed from suspend.
///
/// One thread of the process waits for these events. It blocks in the kernel and does not poll. Only Linux is supported;
/// on other systems nothing is reported.
package final class HostWatch: Sendable {
    /// The watch of the process.
    package static let shared = HostWatch()

    /// Changes of a network arrive in bursts, which are reported once they have paused for this long.
    private static let gathering: TimeAmount = .milliseconds(100)

    /// Ends the reports when it is released.
    package final class Registration: Sendable {
        private let watch: HostWatch
        private let number: UInt64

        fileprivate init(_ watch: HostWatch, _ number: UInt64) {
            self.watch = watch
            self.number = number
        }

        deinit { self.watch.remove(self.number) }
    }

    private struct Observer: Sendable {
        let loop: any EventLoop
        let report: @Sendable () -> Void
    }

    private struct State: Sendable {
        var observers: [UInt64: Observer] = [:]
        var lastNumber: UInt64 = 0
        var isStarted = false
        /// Number of the last event.
        var lastEvent: UInt64 = 0
    }

    private let state = NIOLockedValueBox(State())

    private init() {}

    /// Calls `report` on `loop` after each change, until the registration is released.
    package func observe(on loop: any EventLoop, _ report: @escaping @Sendable () -> Void) -> Registration {
        let (number, starts) = self.state.withLockedValue { state in
            state.lastNumber += 1
            state.observers[state.lastNumber] = Observer(loop: loop, report: report)
            defer { state.isStarted = true }
            return (state.lastNumber, !state.isStarted)
        }
        if starts { self.start() }
        return Registration(self, number)
    }

    private func remove(_ number: UInt64) { self.state.withLockedValue { $0.observers[number] = nil } }

    /// Without the thread, or on a system without these events, changes are noticed later: by silence.
    private func start() {
        let thread = NIOThreadPool(numberOfThreads: 1)
        thread.start()
        thread.submit { _ in HostWatch.shared.run() }
    }

    private func run() {
        var events = nws_host_events()
        guard unsafe nws_host_events_open(&events) == 0 else { return }
        while unsafe nws_host_events_wait(&events) >= 0 { self.changed() }
    }

    private func changed() {
        let (event, loop) = self.state.withLockedValue { state in
            state.lastEvent += 1
            return (state.lastEvent, state.observers.values.first?.loop)
        }
        _ = loop?.scheduleTask(in: Self.gathering) {
            let (isLast, observers) = self.state.withLockedValue { ($0.lastEvent == event, Array($0.observers.values)) }
            guard isLast else { return }
            for observer in observers { observer.loop.execute(observer.report) }
        }
    }
}
