//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import NIOHTTP1
import TunnelProtocol

/// Fuzzes the responses that the HTTP proxy forwards, and compares where they end with the result of SwiftNIO's HTTP
/// parser.
enum HTTPResponseFuzzer {
    static func run(_ input: [UInt8]) {
        let size = max(1, Int(input.last ?? 1))
        for method in [HTTPMethod.GET, .HEAD] {
            var framer = HTTPResponseFramer(isHead: method == .HEAD, allowsUpgrade: false)
            var end = 0
            for start in stride(from: 0, to: input.count, by: size) where !framer.isComplete {
                end += framer.receive(ByteBuffer(bytes: input[start..<min(start + size, input.count)]))
            }
            precondition(!framer.isUpgraded)
            guard framer.isComplete else { continue }
            // A client that finds a different end would parse the remaining bytes as the next response.
            let isEnd = Self.isWhole(ByteBuffer(bytes: input[..<end]), method)
            precondition(isEnd != false, "\(method) does not end at \(end)")
        }
    }

    /// Returns whether the bytes are exactly one response; nil if SwiftNIO's parser rejects them.
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
