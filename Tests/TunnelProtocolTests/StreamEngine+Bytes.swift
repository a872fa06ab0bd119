//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

@testable import TunnelProtocol

extension StreamEngine {
    /// Receives a message given as an array.
    mutating func receive(_ bytes: [UInt8], createdAt: Int64, generation: Int, path: PathID, at now: Moment) {
        self.receive(ByteBuffer(bytes: bytes), createdAt: createdAt, generation: generation, path: path, at: now)
    }
}

extension SimulatedSession {
    /// Delivers a message given as an array.
    func inject(_ bytes: [UInt8], path: PathID, to end: Int, generation: Int = 0) {
        self.inject(ByteBuffer(bytes: bytes), path: path, to: end, generation: generation)
    }
}
