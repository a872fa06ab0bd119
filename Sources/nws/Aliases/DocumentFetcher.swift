//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOPosix
import NIOSSL
import Nostr
import NostrClient

/// Fetches a small document over HTTPS, through the proxy for relays if there is one. Redirects are not followed.
enum DocumentFetcher {
    /// Fetches the document at an address.
    static func fetch(_ url: RelayURL, configuration: RelayClientConfiguration) async throws -> ByteBuffer {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let server = configuration.proxy.map { ($0.host, $0.port) } ?? (url.host, url.port)
        let addresses = try await HostResolver.own.resolve(host: server.0, port: server.1, on: loop).get()
        var target = WebSocketClient.Target(
            addresses: addresses,
            host: url.host,
            authority: url.authority,
            requestTarget: url.requestTarget,
            tls: try NIOSSLContext(configuration: configuration.tls)
        )
        if let proxy = configuration.proxy { target.proxy = (proxy, port: url.port) }
        return try await HTTPClient.get(target, accept: "application/json", on: loop).get().body
    }

    /// Describes an error of ``fetch(_:configuration:)``.
    static func reason(_ error: any Error) -> String {
        switch error {
        case HTTPClient.RequestError.status(let status): "the server answered with HTTP \(status)"
        case HTTPClient.RequestError.bodyTooLong: "the document is too long"
        case HTTPClient.RequestError.timedOut: "the server does not answer"
        case HTTPClient.RequestError.connectionClosed: "the server closed the connection"
        default:
            // The text of the TLS library is for developers.
            if case .tls(let what) = WebSocketClient.ConnectError(error) { what } else { "\(error)" }
        }
    }
}
