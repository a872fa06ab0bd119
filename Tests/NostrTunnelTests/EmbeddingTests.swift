//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Logging
import NIOPosix
import NostrRelay
import NostrTunnel
import TestSupport
import Testing

@Suite("The library, as a program embeds it")
struct EmbeddingTests {
    private func relay() async throws -> RelayServer {
        try await RelayServer.start(
            RelayConfiguration(host: "127.0.0.1", port: 0),
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "relay") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    @Test("the tutorial works as it stands")
    func tutorial() async throws {
        let server = try await self.relay()
        let relay = server.url
        let identity = SecretKey.generate()
        // serve
        let key = SecretKey.generate()
        let host = try await TunnelHost.start(
            key: key,
            relays: [relay],
            services: [
                7: { stream in
                    for try await bytes in stream {
                        try await stream.write(bytes)
                    }
                }
            ]
        )
        print(host.name.encoded)
        let text = try key.exposeBytes().hex
        guard let bytes = Bytes32(hex: text) else { fatalError("not a key") }
        let sameKey = try SecretKey(bytes)
        let web = try await TunnelHost.start(key: .generate(), relays: [relay]) {
            $0.services = ExitServices([80: .tcp(host: "127.0.0.1", port: 8080)])
            $0.access = AuthorizedKeys([identity.publicKey])
        }
        // end
        #expect(sameKey.publicKey == key.publicKey)
        try await web.update {
            $0.services = ExitServices([80: .local(LocalService { try await $0.write("in".utf8) })])
        }

        // connect
        let client = try await TunnelClient.start { configuration in
            configuration.identity = identity
            configuration.allowsLocalRelays = true
            // The machine may be busy with other tests.
            configuration.session.offerTimeout = .seconds(120)
        }
        // end
        let greeting = try await client.connect(to: web.name.encoded, port: 80)
        var words = ByteBuffer()
        for try await bytes in greeting { words.writeImmutableBuffer(bytes) }
        #expect(String(buffer: words) == "in")
        // update
        try await web.update { $0.access = AuthorizedKeys() }
        // end
        let refused = await #expect(throws: StreamFailure.self) {
            for try await _ in try await client.connect(to: web.name.encoded, port: 80) {}
        }
        #expect(refused?.cause == .notAllowed || refused?.cause == .revoked)

        do {
            let stream = try await client.connect(to: host.name.encoded, port: 7)
            try await stream.write("hello".utf8)
            try await stream.finish()
            var answer = ByteBuffer()
            for try await bytes in stream {
                answer.writeImmutableBuffer(bytes)
            }
            print(String(buffer: answer))
            // end
            #expect(String(buffer: answer) == "hello")
        } catch let failure as StreamFailure {
            print("failed at the \(failure.hop): \(failure.reason)")
            if failure.cause == .exitSilent || failure.cause == .sessionRequired {
                print("The host is offline, or does not know this client.")
            }
            // end
            Issue.record(failure)
        }
        try await web.stop()
        // stop
        try await client.stop(timeout: .seconds(5))
        try await host.stop()
        // end
        try await server.stop()
    }

    @Test(
        "the code of the guide and the tutorial is the code above",
        arguments: ["docs/guides/embedding.md", "Sources/NostrTunnel/NostrTunnel.docc/Embedding.md"]
    )
    func tutorialIsTested(document: String) throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(
            contentsOf: tests.deletingLastPathComponent().appendingPathComponent(document),
            encoding: .utf8
        )
        let tested = Set(
            try String(contentsOfFile: #filePath, encoding: .utf8).split(separator: "\n").map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        )
        var isCode = false
        var lines = 0
        // Before this heading, the guide has a manifest and the parts that the test has in another form.
        let start = try #require(text.range(of: "## Serve"))
        for line in text[start.lowerBound...].split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isCode = line == "```swift"
            } else if isCode, !line.isEmpty {
                lines += 1
                let isTested = tested.contains(line.trimmingCharacters(in: .whitespaces))
                #expect(isTested, "\(line)")
            }
        }
        #expect(lines >= 40)
    }

    @Test("opening a stream to a host that is offline fails with its reason, and ends when it is cancelled")
    func offline() async throws {
        let server = try await self.relay()
        let client = try await TunnelClient.start(relays: [server.url]) { $0.session.offerTimeout = .seconds(1) }
        let absent = SecretKey.generate().publicKey.npub
        let failure = await #expect(throws: StreamFailure.self) { try await client.connect(to: absent, port: 1) }
        #expect(failure?.cause == .exitSilent)

        let opening = Task { try await client.connect(to: absent, port: 1) }
        opening.cancel()
        await #expect(throws: CancellationError.self) { try await opening.value }
        try await client.stop()
        try await server.stop()
    }

    @Test("megabytes in both directions arrive complete with a slow reader")
    func bulk() async throws {
        let server = try await self.relay()
        let data = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
        let host = try await TunnelHost.start(
            key: .generate(),
            relays: [server.url],
            services: [
                1: { stream in
                    var received: [UInt8] = []
                    for try await bytes in stream { received += bytes.readableBytesView }
                    try await stream.write(received)
                }
            ]
        )
        let client = try await TunnelClient.start { $0.allowsLocalRelays = true }
        let stream = try await client.connect(to: host.name.encoded, port: 1)
        for start in Swift.stride(from: 0, to: data.count, by: 100_000) {
            try await stream.write(data[start..<min(start + 100_000, data.count)])
        }
        try await stream.finish()
        var back: [UInt8] = []
        for try await bytes in stream {
            back += bytes.readableBytesView
            if back.count < 1_000_000 { await Task.yield() }
        }
        #expect(back == data)
        try await client.stop()
        try await host.stop()
        try await server.stop()
    }

    @Test("a stream that is reset throws on both sides")
    func failures() async throws {
        struct Mishap: Error {}
        let server = try await self.relay()
        let host = try await TunnelHost.start(
            key: .generate(),
            relays: [server.url],
            services: [
                1: { stream in
                    try await stream.write("half of ".utf8)
                    throw Mishap()
                }
            ]
        )
        let client = try await TunnelClient.start { $0.allowsLocalRelays = true }
        let stream = try await client.connect(to: host.name.encoded, port: 1)
        await #expect(throws: StreamFailure.self) { for try await _ in stream {} }
        await #expect(throws: StreamFailure.self) { try await stream.write("more".utf8) }
        await #expect(throws: StreamFailure.self) { try await client.connect(to: host.name.encoded, port: 2) }
        await #expect(throws: StreamFailure.self) { try await client.connect(to: "nonsense", port: 2) }
        try await client.stop()
        try await host.stop()
        try await server.stop()
    }

    @Test("releasing a stream ends it for the other side")
    func abandoned() async throws {
        let server = try await self.relay()
        let (ends, end) = AsyncStream<Bool>.makeStream()
        let host = try await TunnelHost.start(
            key: .generate(),
            relays: [server.url],
            services: [
                1: { stream in
                    do {
                        for try await _ in stream {}
                        end.yield(false)
                    } catch {
                        end.yield(true)
                    }
                }
            ]
        )
        let client = try await TunnelClient.start { $0.allowsLocalRelays = true }
        let stream = try await client.connect(to: host.name.encoded, port: 1)
        try await stream.write("x".utf8)
        try await stream.reset()
        var iterator = ends.makeAsyncIterator()
        #expect(await iterator.next() == true)
        try await client.stop()
        try await host.stop()
        try await server.stop()
    }

    @Test("a loop reads a whole stream without other references to it; misuse throws and affects no other stream")
    func oneReader() async throws {
        let server = try await self.relay()
        let data = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 37 ^ $0 >> 9) }
        let nothing = AsyncStream<Void>.makeStream()
        let host = try await TunnelHost.start(
            key: .generate(),
            relays: [server.url],
            services: [
                1: { stream in try await stream.write(data) },
                // Reads nothing until it is told to end.
                2: { _ in for await _ in nothing.stream {} },
            ]
        )
        let client = try await TunnelClient.start { $0.allowsLocalRelays = true }
        var received: [UInt8] = []
        for try await bytes in try await client.connect(to: host.name.encoded, port: 1) {
            received += bytes.readableBytesView
        }
        #expect(received == data)

        let finished = try await client.connect(to: host.name.encoded, port: 1)
        try await finished.finish()
        let failure = await #expect(throws: StreamFailure.self) { try await finished.write("more".utf8) }
        #expect(failure?.reason == "write() was called after finish()")
        try await finished.reset()

        let stuck = try await client.connect(to: host.name.encoded, port: 2)
        let writing = Task {
            while true { try await stuck.write([UInt8](repeating: 0, count: 1 << 20)) }
        }
        writing.cancel()
        await #expect(throws: CancellationError.self) { try await writing.value }
        // The handler is cancelled with the stream, and counts until it returned.
        try await stuck.reset()
        try await host.stop(timeout: .seconds(30))
        #expect(try await host.status().streams == 0)
        try await client.stop()
        try await server.stop()
    }

    @Test("starting a host without a relay ends when it is cancelled")
    func cancelledStart() async throws {
        let starting = Task {
            try await TunnelHost.start(key: .generate(), relays: ["ws://127.0.0.1:1"])
        }
        starting.cancel()
        await #expect(throws: CancellationError.self) { try await starting.value }
    }
}
