//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import Tunnel

@Suite("Writes to a socket")
struct WriteQueueTests {
    private static func buffer(_ count: Int, _ byte: UInt8 = 1) -> ByteBuffer {
        ByteBuffer(repeating: byte, count: count)
    }

    @Test("small pieces are gathered while a write is pending, and order is kept")
    func gathers() {
        var queue = WriteQueue()
        let written = queue.append(Self.buffer(10))
        #expect(written == [Self.buffer(10)])
        let written2 = queue.append(Self.buffer(20, 2))
        #expect(written2.isEmpty)
        let written3 = queue.append(Self.buffer(30, 3))
        #expect(written3.isEmpty)
        #expect(!queue.isEmpty)
        var gathered = Self.buffer(20, 2)
        gathered.writeImmutableBuffer(Self.buffer(30, 3))
        let next = queue.completeWrite()
        #expect(next == gathered)
        let next2 = queue.completeWrite()
        #expect(next2 == nil)
        #expect(queue.isEmpty)
    }

    @Test("a large piece is written behind the gathered ones")
    func largePieceKeepsOrder() {
        var queue = WriteQueue()
        _ = queue.append(Self.buffer(1))
        let written = queue.append(Self.buffer(2, 2))
        #expect(written.isEmpty)
        let written2 = queue.append(Self.buffer(5_000, 3))
        #expect(written2 == [Self.buffer(2, 2), Self.buffer(5_000, 3)])
        let next = queue.completeWrite()
        #expect(next == nil)
        let next2 = queue.completeWrite()
        #expect(next2 == nil)
        #expect(!queue.isEmpty)
        let next3 = queue.completeWrite()
        #expect(next3 == nil)
        #expect(queue.isEmpty)
    }

    @Test("gathered bytes are bounded")
    func bounded() {
        var queue = WriteQueue()
        _ = queue.append(Self.buffer(1))
        var written = 0
        for _ in 0..<100 { written += queue.append(Self.buffer(4_000)).reduce(0) { $0 + $1.readableBytes } }
        #expect(400_000 - written < 70_000)
        let dropped = queue.discardGathered()
        #expect(dropped == 400_000 - written)
        let dropped2 = queue.discardGathered()
        #expect(dropped2 == 0)
    }
}
