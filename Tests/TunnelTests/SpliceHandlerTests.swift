//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import NIOEmbedded
import Testing
import TunnelProtocol

@testable import Tunnel

/// A splice between a channel in memory and a stream that is recorded.
@Suite("Splice of a socket and a stream")
struct SpliceHandlerTests {
    private static let id = StreamID(rawValue: 1)

    private final class Ends {
        var reasons: [StreamEnd?] = []
    }

    private let carrier = RecordingCarrier()
    private let ends = Ends()
    private let channel = EmbeddedChannel()

    private func splice(_ side: SpliceHandler.Side) throws -> SpliceHandler {
        let ends = self.ends
        let splice = SpliceHandler(carrier: self.carrier, id: Self.id, side: side) { reason, _, _ in
            ends.reasons.append(reason)
        }
        try self.channel.pipeline.syncOperations.addHandler(splice)
        return splice
    }

    private func connect() throws {
        self.channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        self.channel.embeddedEventLoop.run()
    }

    private func written() throws -> [UInt8]? {
        try self.channel.readOutbound(as: ByteBuffer.self).map { Array($0.readableBytesView) }
    }

    @Test("bytes pass in both directions, and written bytes are reported as consumed")
    func bytes() throws {
        let splice = try self.splice(.client)
        try self.connect()
        splice.credit(100)
        try self.channel.writeInbound(ByteBuffer(bytes: [1, 2]))
        #expect(self.carrier.takeCalls() == [.send([1, 2])])
        splice.receive(ByteBuffer(bytes: [3]))
        self.channel.embeddedEventLoop.run()
        #expect(try self.written() == [3])
        #expect(self.carrier.takeCalls() == [.consumed(1)])
    }

    @Test("bytes that arrive before the socket is connected are written when it is")
    func early() throws {
        let splice = try self.splice(.service)
        splice.receive(ByteBuffer(bytes: [1]))
        splice.receive(ByteBuffer(bytes: [2]))
        #expect(try self.written() == nil)
        #expect(!splice.isFlushed)
        try self.connect()
        #expect(try self.written() == [1, 2])
        #expect(self.carrier.takeCalls() == [.consumed(2)])
    }

    @Test("the end of one direction leaves the other one open")
    func halfClose() throws {
        let splice = try self.splice(.client)
        try self.connect()
        self.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        #expect(self.carrier.takeCalls() == [.finish])
        splice.receive(ByteBuffer(bytes: [1]))
        #expect(try self.written() == [1])
        splice.ended(nil)
        #expect(self.ends.reasons == [nil])
    }

    @Test("a client that closes its connection cancels the stream")
    func clientCloses() throws {
        _ = try self.splice(.client)
        try self.connect()
        self.channel.pipeline.fireChannelInactive()
        #expect(self.carrier.takeCalls() == [.reset(.cancelled)])
        #expect(self.ends.reasons == [.cancelled])
    }

    @Test("what a service sent before it broke off is delivered before the reset")
    func serviceBreaks() throws {
        let splice = try self.splice(.service)
        try self.connect()
        splice.credit(100)
        try self.channel.writeInbound(ByteBuffer(bytes: [1]))
        self.channel.pipeline.fireErrorCaught(IOError(errnoCode: ECONNRESET, reason: "read"))
        #expect(self.carrier.takeCalls() == [.send([1]), .resetAfterDelivery(.connectionReset)])
        #expect(self.ends.reasons == [.connectionReset])
    }

    @Test("a stream whose socket cannot be connected is reset once")
    func fails() throws {
        let splice = try self.splice(.service)
        splice.fail(.refused)
        splice.fail(.timedOut)
        splice.ended(.peerLost)
        #expect(self.carrier.takeCalls() == [.reset(.refused)])
        #expect(self.ends.reasons == [.refused])
    }
}
