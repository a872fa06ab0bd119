//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded

extension EmbeddedChannel {
    /// Simulates a connection: connects, reads `input` in pieces, advances the clock by two minutes, and closes.
    ///
    /// The last byte of `input` is the size of the pieces.
    func live(on input: [UInt8]) {
        try? self.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        let size = max(1, Int(input.last ?? 1))
        for start in stride(from: 0, to: input.count, by: size) {
            _ = try? self.writeInbound(ByteBuffer(bytes: input[start..<min(start + size, input.count)]))
            self.embeddedEventLoop.run()
            while (try? self.readOutbound(as: ByteBuffer.self)) != nil {}
        }
        self.embeddedEventLoop.advanceTime(by: .minutes(2))
        _ = try? self.finish(acceptAlreadyClosed: true)
    }
}
