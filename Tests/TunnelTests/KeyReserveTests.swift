//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NIOEmbedded
import NostrCrypto
import Testing

@testable import NostrClient
@testable import Tunnel

@Suite("Keys that are generated in advance")
struct KeyReserveTests {
    private final class Ignoring: RelayConnectionDelegate {
        func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {}
    }

    private let loop = EmbeddedEventLoop()
    private let delegate = Ignoring()

    private func reserve() -> KeyReserve {
        let pool = RelayPool(
            configuration: RelayClientConfiguration(),
            lingering: .seconds(1),
            loop: self.loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            delegate: self.delegate
        )
        return KeyReserve(
            size: 4,
            refillThreshold: 2,
            refillDelay: .milliseconds(50),
            pool: pool,
            lane: RelayLane(),
            loop: self.loop
        )
    }

    @Test("a reserve is refilled some time after it was used, and only when few keys are left")
    func refill() {
        let reserve = self.reserve()
        reserve.fill()
        #expect(reserve.count == 4)
        _ = reserve.take { _ in true }
        self.loop.advanceTime(by: .milliseconds(50))
        #expect(reserve.count == 3)
        _ = reserve.take { _ in true }
        self.loop.advanceTime(by: .milliseconds(49))
        #expect(reserve.count == 2)
        self.loop.advanceTime(by: .milliseconds(1))
        #expect(reserve.count == 4)
    }

    @Test("an empty reserve still provides keys, and no key is provided twice")
    func empty() {
        let reserve = self.reserve()
        reserve.fill()
        let keys = (0..<10).map { _ in reserve.take { _ in true }.publicKey }
        #expect(Set(keys).count == keys.count)
        #expect(reserve.count == 0)
        reserve.stop()
        self.loop.advanceTime(by: .seconds(1))
        #expect(reserve.count == 0)
    }
}
