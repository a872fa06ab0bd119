//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOEmbedded
import Nostr
import NostrCrypto
import Testing
import TunnelProtocol

@testable import NostrClient
@testable import Tunnel

/// The numbers of relays, with connections that are never started.
@Suite("Numbers of relays")
struct RelayNumberTests {
    private final class Ignoring: RelayConnectionDelegate {
        func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {}
    }

    private let loop = EmbeddedEventLoop()
    private let delegate = Ignoring()

    private func relay(_ name: String) throws -> RelayConnection {
        RelayConnection(
            RelaySocket.Target(
                url: try RelayURL("ws://\(name).example"),
                policy: .configured,
                tls: { nil },
                isolation: ""
            ),
            lane: RelayLane(),
            configuration: RelayClientConfiguration(),
            authenticationKey: .generate(),
            informationCache: nil,
            loop: self.loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            delegate: self.delegate
        )
    }

    @Test("a relay keeps its number, and numbers of removed relays are used again only if no other is left")
    func numbers() throws {
        var relays = NumberedRelays(limit: 2)
        let (first, second, third) = (try self.relay("a"), try self.relay("b"), try self.relay("c"))
        #expect(relays.add(first) == PathID(rawValue: 0))
        #expect(relays.add(second) == PathID(rawValue: 1))
        #expect(relays.add(third) == nil)
        #expect(relays.remove(first) == PathID(rawValue: 0))
        #expect(relays.remove(first) == nil)
        #expect(relays.relay(PathID(rawValue: 0)) == nil)
        #expect(relays.path(of: second) == PathID(rawValue: 1))
        #expect(relays.add(third) == PathID(rawValue: 0))
        #expect(relays.all.map(\.path.rawValue) == [0, 1])
        #expect(relays.relay(PathID(rawValue: 7)) == nil)
    }

    @Test("relays in the exit's list come first, and only relays that deliver its messages are used")
    func paths() throws {
        var paths = ExitPaths()
        let relays = [try self.relay("a"), try self.relay("b"), try self.relay("c")]
        for relay in relays { paths.append(relay) }
        #expect(paths.ready.isEmpty)
        #expect(paths.isConnecting)
        for relay in relays { paths.setReady(relay, true) }
        paths.setListed(relays[1].url)
        #expect(paths.ready.map(\.path.rawValue) == [1, 0, 2])
        #expect(paths.hasReadyListed)
        paths.setReady(relays[1], false)
        #expect(paths.ready.map(\.path.rawValue) == [0, 2])
        #expect(paths.hasListed)
        #expect(!paths.hasReadyListed)
        #expect(paths.path(of: relays[2]) == PathID(rawValue: 2))
        #expect(paths.problems == relays.map { "\($0.url): connecting" })
    }
}
