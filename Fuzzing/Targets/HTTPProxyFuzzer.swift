//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import NIOHTTP1
import Tunnel
import TunnelProtocol

/// Fuzzes a client's connection to the HTTP proxy, and parses the data that the proxy forwards with SwiftNIO's HTTP
/// parser.
enum HTTPProxyFuzzer {
    /// The bytes that the proxy sent on one stream, and the number of requests in them.
    private struct Stream {
        var bytes = ByteBuffer()
        var requests = 0
    }

    static func run(_ input: [UInt8]) {
        var machine = HTTPProxyStateMachine(credentials: nil)
        var stream: Stream?
        let size = max(1, Int(input.last ?? 1))
        for start in stride(from: 0, to: input.count, by: size) {
            machine.receive(ByteBuffer(bytes: input[start..<min(start + size, input.count)]))
            while true {
                let isIdle = machine.isIdle
                guard let action = machine.next() else {
                    guard Self.answer(&machine) else { break }
                    continue
                }
                switch action {
                case .open(let request):
                    Self.check(stream)
                    precondition(request.target.port > 0)
                    guard case .request(let head)? = machine.opened() else { return }
                    stream = Stream(bytes: head, requests: 1)
                case .send(let bytes):
                    if isIdle { stream?.requests += 1 }
                    stream?.bytes.writeImmutableBuffer(bytes)
                case .endInput, .leave, .respond, .close, .abort:
                    return Self.check(stream)
                }
            }
        }
        Self.check(stream)
    }

    /// Answers the forwarded request, if the proxy is waiting for a response. Returns whether it was.
    private static func answer(_ machine: inout HTTPProxyStateMachine) -> Bool {
        guard !machine.wantsInput else { return false }
        let response = ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        precondition(machine.receiveFromService(response) == response.readableBytes)
        return true
    }

    /// The service must not find more requests than the proxy forwarded (request smuggling), and none with proxy
    /// fields or without exactly one Host field.
    private static func check(_ stream: Stream?) {
        guard let stream else { return }
        let heads = Self.heads(stream.bytes)
        precondition(heads.count <= stream.requests, "\(heads.count) requests of \(stream.requests)")
        for head in heads {
            precondition(head.headers["host"].count == 1)
            for field in ["proxy-authorization", "proxy-connection"] {
                precondition(head.headers[canonicalForm: field].isEmpty)
            }
        }
    }

    /// Returns the heads of the requests in `bytes`, up to the first parser error.
    private static func heads(_ bytes: ByteBuffer) -> [HTTPRequestHead] {
        let channel = EmbeddedChannel(
            handler: ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes))
        )
        defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
        _ = try? channel.writeInbound(bytes)
        var heads: [HTTPRequestHead] = []
        while let part = try? channel.readInbound(as: HTTPServerRequestPart.self) {
            if case .head(let head) = part { heads.append(head) }
        }
        return heads
    }
}
