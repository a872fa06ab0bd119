//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
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
        guard let address = self.configuration.publicAddress, case .plain = association.carrier else { return false }
        let key = Self.makeKey()
        guard let pending = self.reverse.expect(key, endpoint: request.endpoint) else {
            self.metrics.reached(.connections)
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

    /// A connection came that names a stream.
    func reverseConnected(_ key: String, _ stream: ReverseStream) -> (any StreamEndpoint)? {
        guard let endpoint = self.reverse.take(key)?.joined(stream) else {
            self.metrics.rejected(.unknownReverseStream)
            return nil
        }
        self.metrics.streamsOpened.increment()
        return endpoint
    }
}
