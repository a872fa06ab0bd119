//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrCrypto
import TunnelProtocol

/// Streams that exits carry to this entry by connections of their own (CONNECTR), as the reference has it.
extension EntryCore {
    /// Asks the exit to connect. False if the stream is to go by relays: in sessions, and where this entry cannot be
    /// reached.
    func openReverse(
        _ request: WaitingRequest,
        _ association: EntryAssociation,
        _ link: PeerLink,
        _ paths: [PathID]
    ) -> Bool {
        guard let address = self.configuration.publicAddress, case .plain = association.carrier,
            !association.connectsNever
        else { return false }
        let key = Self.makeKey()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundAssociation = NIOLoopBound(association, eventLoop: self.loop)
        let stream = request.request
        let pending = self.reverse.expect(key, endpoint: request.endpoint) {
            bound.value.goOnByRelays($0, stream, boundAssociation.value)
        }
        guard let pending else {
            self.metrics.reached(.reverseConnections)
            return false
        }
        let message = NIP74Message.connectReverse(
            key: key,
            destination: self.destination(of: association),
            address: "\(address)"
        )
        link.publish(message.encoded(), on: paths)
        request.completion(.success(OpenedStream(link: pending, id: ReverseStream.stream)))
        return true
    }

    /// The exit does not connect: perhaps it may not, or cannot reach us. Relays carry this stream and those to come.
    private func goOnByRelays(_ pending: PendingReverse, _ request: StreamRequest, _ association: EntryAssociation) {
        guard let endpoint = pending.takeEndpoint() else { return }
        defer { self.streamEnded() }
        guard !self.isStopped, self.drain == nil, case .plain(let link) = association.carrier else {
            endpoint.ended(.exitSilent)
            return
        }
        if !association.connectsNever {
            association.connectsNever = true
            self.logger.info(
                "exit does not connect to PUBLIC_ADDRESS; its streams go by relays",
                metadata: ["exit": "\(association.address.publicKey.npub)"]
            )
        }
        let proxy = DeferredEndpoint(endpoint)
        let paths = association.ready.sorted { $0.rawValue < $1.rawValue }
        guard let id = link.open(request, paths: paths, endpoint: proxy) else {
            self.metrics.ended(.tooManyStreams)
            endpoint.ended(.tooManyStreams)
            return
        }
        pending.goOn(by: link, id)
        proxy.release()
    }

    /// A connection came that names a stream.
    func reverseConnected(_ key: String, _ stream: ReverseStream) -> (any StreamEndpoint)? {
        guard let endpoint = self.reverse.take(key)?.joined(stream) else {
            self.metrics.rejected(.unknownReverseStream)
            return nil
        }
        self.metrics.streamsOpened.increment()
        self.reverse.streamBegan()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        stream.onClose = {
            bound.value.reverse.streamEnded()
            bound.value.streamEnded()
        }
        return endpoint
    }
}
