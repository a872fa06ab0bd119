//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOCore
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Streams for which the exit connects to the entry (CONNECTR), as the reference has it.
extension ExitCore {
    /// A client asks for one. Dialled only where that is allowed, and never a forbidden address.
    func connectReverse(_ link: PeerLink, _ request: ReverseRequest) {
        guard let policy = self.configuration.reverseConnections else {
            self.metrics.reported(.reverseConnect)
            return
        }
        guard !self.isStopped, self.drain == nil else { return }
        guard let address = TargetAddress.parts(of: request.address) else {
            self.metrics.reported(.malformedMessage)
            return
        }
        guard self.hasRoom(isPlain: true, link) else {
            self.metrics.reported(.tooManyStreams)
            return
        }
        guard self.admit(request.connect, of: link) == nil else { return }
        let peer = link.peer
        let number = self.plainStreams.begin()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let stream = NIOLoopBound(
            ReverseStream(
                .exit(key: request.connect.key) { bound.value.join($0, peer, request, instead: number) },
                idleTimeout: self.configuration.dialect.idleTimeout
            ),
            eventLoop: self.loop
        )
        self.dialer.dialEntry(host: address.host, port: Int(address.port), policy: policy, handler: stream)
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    if !bound.value.reverseConnections.add(channel) { channel.close(promise: nil) }
                    channel.closeFuture.whenComplete { _ in
                        bound.value.plainStreams.end(number)
                        bound.value.streamEnded()
                    }
                case .failure(let error):
                    bound.value.plainStreams.end(number)
                    bound.value.streamEnded()
                    guard bound.value.complaints.take(at: .now()) else { return }
                    bound.value.logger.info(
                        "cannot connect to the entry (CONNECTR)",
                        metadata: ["peer": "\(peer)", "reason": "\(error)"]
                    )
                }
            }
    }

    /// The entry knows the stream: connects the service. The stream counts from now on, and not its connection.
    private func join(_ stream: ReverseStream, _ peer: PublicKey, _ request: ReverseRequest, instead number: UInt64) {
        let id = ReverseStream.stream
        self.plainStreams.end(number)
        guard self.configuration.access == nil else {
            stream.reset(id, .notAllowed)
            return
        }
        let answer = self.connect(
            stream,
            id,
            StreamRequest(destination: request.destination, port: nil),
            of: Client(peer: peer, identity: nil, isPlain: true, link: nil)
        )
        switch answer {
        case .accepted(let endpoint):
            self.metrics.streamsOpened.increment()
            stream.attach(endpoint)
        case .refused(let reason):
            self.metrics.ended(reason)
            stream.reset(id, reason)
        }
    }
}
