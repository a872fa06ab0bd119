//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Nostr

extension RelayConnection {
    /// Connects to one of the addresses, and learns what the relay says of itself.
    func open(
        _ addresses: [SocketAddress],
        _ proxy: SOCKS5Proxy?,
        epoch: Int
    ) -> EventLoopFuture<WebSocket> {
        var target = WebSocketClient.Target(
            addresses: addresses,
            host: self.url.host,
            authority: self.url.authority,
            requestTarget: self.url.requestTarget,
            tls: self.tls
        )
        if var proxy {
            proxy.isolation = self.isolation
            target.proxy = (proxy, port: self.url.port)
        }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let socket = WebSocketClient.connect(
            to: target,
            on: self.loop,
            configuration: self.configuration.webSocket,
            events: WebSocket.Events(
                onMessage: { bound.value.receive($0, epoch: epoch) },
                onWritabilityChange: { bound.value.writabilityChanged($0, epoch: epoch) },
                onClose: { bound.value.closed($0, epoch: epoch) }
            )
        )
        if let known = self.informationCache?.known(of: self.url, at: .now()) {
            self.information = known.information
            self.clockOffset = known.clockOffset
            return socket
        }
        return socket.and(self.askForInformation(target, epoch: epoch)).map { socket, information in
            if let information, bound.value.epoch == epoch { bound.value.information = information }
            return socket
        }
    }

    /// The information document tells limits that the first messages must keep; it comes beside the handshake, and a
    /// relay that has none, or is slow with it, is used without.
    private func askForInformation(
        _ target: WebSocketClient.Target,
        epoch: Int
    ) -> EventLoopFuture<RelayInformation?> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let patience = self.loop.makePromise(of: RelayInformation?.self)
        let timer = self.loop.scheduleTask(in: self.configuration.informationPatience) { patience.succeed(nil) }
        HTTPClient.get(target, accept: "application/nostr+json", on: self.loop).whenComplete { result in
            timer.cancel()
            let document = try? result.get()
            let information = document.flatMap { try? RelayInformation(json: $0.body) }
            if bound.value.epoch == epoch {
                let clockOffset = document?.date.map { $0 - Self.now() }
                if let clockOffset { bound.value.clockOffset = clockOffset }
                // Too late for this connection is in time for the next. Each connection asks a relay that wants to know its
                // clients: meanwhile the challenge comes, without which a REQ is refused.
                if let information, information.limitation.authenticationRequired != true {
                    bound.value.informationCache?.note(
                        information,
                        clockOffset: clockOffset,
                        of: bound.value.url,
                        at: .now()
                    )
                }
            }
            patience.succeed(information)
        }
        return patience.futureResult
    }
}
