//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NIOEmbedded
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Opening of a stream")
struct StreamOpeningTests {
    /// An entry without exits, and the owner of the opening.
    private final class Owner: StreamOpener, StreamOpeningDelegate {
        let embedded = EmbeddedEventLoop()
        var loop: any EventLoop { self.embedded }
        var opened = 0
        var cancelled = 0
        var failedExits: [PublicKey] = []
        var exitsLeft = 0
        var succeeded = 0
        var failures: [String] = []

        func open(_ opening: StreamOpening) { self.opened += 1 }
        func cancel(_ opening: StreamOpening) { self.cancelled += 1 }
        func exitFailed(_ exit: PublicKey) { self.failedExits.append(exit) }
        func hasAnotherExit(for request: ProxyRequest) -> Bool { self.exitsLeft > 0 }
        var namedExits: [EntryHomePage.Exit] { [] }

        func isIdentified(for request: ProxyRequest) -> Bool { false }

        func text(of remedy: Remedy) -> String { "" }
        func openingDidSucceed(_ opening: StreamOpening) { self.succeeded += 1 }
        func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) { self.failures.append(failure.text) }
    }

    private static let id = StreamID(rawValue: 1)
    private let owner = Owner()
    private let carrier = RecordingCarrier()

    private func opening(_ host: String = "example.com", earlyData: [UInt8] = []) -> StreamOpening {
        let request = ProxyRequest(TargetAddress(host: .domain(host), port: 80), credentials: nil)
        return StreamOpening(
            request,
            earlyData: earlyData,
            opener: self.owner,
            logger: LimitedLogger(Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
            delegate: self.owner
        )
    }

    @Test("it succeeds when the exit has connected the target")
    func succeeds() {
        let opening = self.opening()
        opening.start()
        opening.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
        #expect(self.owner.succeeded == 0)
        opening.opened()
        #expect(self.owner.succeeded == 1)
        #expect(self.owner.opened == 1)
    }

    @Test("a session that the exit has lost is replaced once")
    func unknownSession() {
        let opening = self.opening()
        opening.start()
        for _ in 0..<2 {
            opening.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
            opening.ended(.unknownSession)
            self.owner.embedded.run()
        }
        #expect(self.owner.opened == 2)
        #expect(self.owner.failures.count == 1)
    }

    @Test("at most three exits are tried for a target on the internet")
    func otherExits() throws {
        self.owner.exitsLeft = 10
        let exits = (0..<4).map { _ in SecretKey.generate().publicKey }
        let opening = self.opening()
        opening.start()
        for exit in exits {
            opening.selected(exit)
            opening.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
            opening.ended(.exitSilent)
            self.owner.embedded.run()
        }
        #expect(self.owner.opened == 3)
        #expect(self.owner.failedExits == Array(exits.prefix(3)))
        #expect(self.owner.failures.count == 1)
    }

    @Test("the failure of a target does not blame the exit")
    func targetFails() {
        self.owner.exitsLeft = 10
        let opening = self.opening()
        opening.selected(SecretKey.generate().publicKey)
        opening.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
        opening.ended(.refused)
        #expect(self.owner.failedExits.isEmpty)
        #expect(self.owner.failures.count == 1)
    }

    @Test("there is an alternative only after an exit was selected, and while another one is left")
    func alternative() {
        self.owner.exitsLeft = 10
        let named = self.opening()
        #expect(!named.hasAlternative)
        let opening = self.opening()
        for attempt in 1...3 {
            opening.selected(SecretKey.generate().publicKey)
            // The third exit is the last that is tried.
            #expect(opening.hasAlternative == (attempt < 3))
            opening.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
            opening.ended(.peerLost)
            self.owner.embedded.run()
        }
        self.owner.exitsLeft = 0
        let only = self.opening()
        only.selected(SecretKey.generate().publicKey)
        #expect(!only.hasAlternative)
    }

    @Test("an opening that its client abandoned is cancelled, or resets its stream")
    func abandoned() {
        let waiting = self.opening()
        waiting.abandon()
        #expect(self.owner.cancelled == 1)
        waiting.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
        #expect(self.carrier.takeCalls() == [.reset(.cancelled)])
        let attached = self.opening()
        attached.attach(to: self.carrier, as: Self.id, earlyBytes: 0)
        attached.abandon()
        attached.ended(.peerLost)
        #expect(self.carrier.takeCalls() == [.reset(.cancelled)])
        #expect(self.owner.failures.isEmpty)
    }

    @Test("a request goes with an offer only to a service of the exit itself")
    func openingOfOffer() {
        let key = SecretKey.generate().publicKey
        let name = NostrName(publicKey: key, relays: []).encoded
        #expect(self.opening("example.com", earlyData: [1]).openingOfOffer(withData: true) == nil)
        #expect(self.opening(name, earlyData: [1]).openingOfOffer(withData: true)?.data == [1])
        #expect(self.opening(name, earlyData: [1]).openingOfOffer(withData: false)?.data == [])
        let tooMuch = [UInt8](repeating: 1, count: OfferTerms.Opening.maximumDataLength + 1)
        #expect(self.opening(name, earlyData: tooMuch).openingOfOffer(withData: true) == nil)
    }

    @Test("requests wait in order, and each leaves the queue once")
    func queue() {
        var queue = OpenQueue()
        let openings = (0..<3).map { _ in self.opening() }
        let numbers = openings.map { queue.append($0) }
        #expect(queue.first === openings[0])
        #expect(queue.remove(numbers[1]) === openings[1])
        #expect(queue.remove(numbers[1]) == nil)
        queue.remove(openings[0])
        #expect(!queue.contains(numbers[0]))
        #expect(queue.contains(numbers[2]))
        #expect(queue.removeFirst() === openings[2])
        #expect(queue.removeFirst() == nil)
        #expect(queue.isEmpty)
    }
}
