//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import NIOHTTP1
import TunnelProtocol

/// Fuzzes the responses that pass the HTTP proxy, and compares where they end with another parser.
enum HTTPResponseFuzzer {
    static func run(_ input: [UInt8]) {
        let size = max(1, Int(input.last ?? 1))
        for method in [HTTPMethod.GET, .HEAD] {
            var framer = HTTPResponseFramer(isHead: method == .HEAD, allowsSwitch: false)
            var end = 0
            for start in stride(from: 0, to: input.count, by: size) where !framer.isComplete {
                end += framer.receive(ByteBuffer(bytes: input[start..<min(start + size, input.count)]))
            }
            precondition(!framer.isSwitched)
            guard framer.isComplete else { continue }
            // A client that sees another end takes the rest for the next response.
            let isEnd = Self.isWhole(ByteBuffer(bytes: input[..<end]), method)
            precondition(isEnd != false, "\(method) does not end at \(end)")
        }
    }

    /// Whether the bytes are one response and nothing more; nil if the parser does not take them.
    private static func isWhole(_ bytes: ByteBuffer, _ method: HTTPMethod) -> Bool? {
        let channel = EmbeddedChannel()
        defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
        do {
            try channel.pipeline.syncOperations.addHandlers([
                HTTPRequestEncoder(), ByteToMessageHandler(HTTPResponseDecoder(leftOverBytesStrategy: .dropBytes)),
            ])
            let head = HTTPRequestHead(version: .http1_1, method: method, uri: "/")
            try channel.writeOutbound(HTTPClientRequestPart.head(head))
            try channel.writeInbound(bytes)
        } catch {
            return nil
        }
        var ends = 0
        while let part = try? channel.readInbound(as: HTTPClientResponsePart.self) {
            if case .end = part { ends += 1 }
        }
        return ends == 1
    }
}
