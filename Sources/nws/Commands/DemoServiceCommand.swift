//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import HTTPTransport
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// `nws demo-service`: the HTTP service of `make demo`.
struct DemoServiceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo-service",
        abstract: "Run the HTTP service of the demo.",
        shouldDisplay: false
    )

    /// Maximum size of a generated file in bytes.
    private static let maximumLength = 64 << 20

    @Option(help: ArgumentHelp("Address and port to listen on. Port 0 selects a free port.", valueName: "host:port"))
    var listen = "127.0.0.1:0"

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reportingErrors {
            let address = try HostAndPort(self.listen, source: "--listen")
            let logger = self.common.logger("nws.demo-service")
            let listen = self.listen
            if self.common.checkConfig {
                Console.line("configuration: ok")
                return
            }
            try await runServices(
                [
                    ClosureService {
                        let server: HTTPServer
                        do {
                            server = try await HTTPServer.start(
                                HTTPServer.Configuration(host: address.host, port: address.port),
                                on: MultiThreadedEventLoopGroup.singleton,
                                logger: logger,
                                route: Self.answer,
                                upgrade: { _, _ in nil }
                            )
                        } catch {
                            throw ProcessSetup.bindError(error, address: listen)
                        }
                        Console.line(
                            "service: http://\(server.localAddress.ipAddress ?? ""):\(server.localAddress.port ?? 0)"
                        )
                        try await gracefulShutdown()
                        try await server.stopListening()
                    }
                ],
                shutdownTimeout: .zero
            )
        }
    }

    @Sendable private static func answer(_ request: HTTPRequest) -> HTTPResponse {
        let path = request.path
        if path == "/" {
            let host = request.head.headers.first(name: "Host") ?? ""
            return HTTPResponse(
                status: .ok,
                contentType: "text/html; charset=utf-8",
                body: ByteBuffer(string: DemoPage.html(host: host))
            )
        }
        if path.hasPrefix("/bytes/"), let length = Int(path.dropFirst(7)), (0...Self.maximumLength).contains(length) {
            var body = ByteBuffer()
            body.reserveCapacity(length)
            // The bytes are deterministic, so that clients can compare hashes. The period exceeds any buffer size, so
            // that misplaced blocks change the hash.
            var state: UInt32 = 1
            for _ in 0..<length {
                state = state &* 1_664_525 &+ 1_013_904_223
                body.writeInteger(UInt8(truncatingIfNeeded: state >> 24))
            }
            return HTTPResponse(status: .ok, contentType: "application/octet-stream", body: body)
        }
        return .text(.notFound, "Not found. Try / or /bytes/1000.")
    }
}
