//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import Tunnel

@Suite("Half-close of a socket and a stream")
struct HalfCloseTests {
    @Test("the output closes only when everything is written, and once")
    func outputClosesAfterFlush() {
        var ends = HalfClose()
        let action = ends.flushed()
        #expect(action == .none)
        ends.peerFinished()
        #expect(!ends.isOutputClosed)
        let action2 = ends.flushed()
        #expect(action2 == .closeOutput)
        #expect(ends.isOutputClosed)
        let action3 = ends.flushed()
        #expect(action3 == .none)
    }

    @Test("the end of the input is reported to the peer once, and not after the stream ended")
    func inputEnds() {
        var ends = HalfClose()
        let tellsPeer = ends.inputEnded()
        #expect(tellsPeer)
        let tellsPeer2 = ends.inputEnded()
        #expect(!tellsPeer2)
        var over = HalfClose()
        let isNew = over.streamEnded()
        #expect(isNew)
        let tellsPeer3 = over.inputEnded()
        #expect(!tellsPeer3)
    }

    @Test(
        "a socket that closes before the peer has finished is broken, with or without an error",
        arguments: [true, false]
    )
    func broken(isError: Bool) {
        var ends = HalfClose()
        let end = ends.socketClosed(isError: isError)
        #expect(end == .broken)
        #expect(ends.isStreamOver)
        let end2 = ends.socketClosed(isError: isError)
        #expect(end2 == .ignored)
    }

    @Test("a socket that closes after its output was closed finishes its input")
    func closesInOrder() {
        var ends = HalfClose()
        ends.peerFinished()
        _ = ends.flushed()
        let end = ends.socketClosed(isError: false)
        #expect(end == .finish)
        var both = HalfClose()
        both.peerFinished()
        _ = both.flushed()
        _ = both.inputEnded()
        let end2 = both.socketClosed(isError: false)
        #expect(end2 == .complete)
    }

    @Test("a stream that completed closes the socket when everything is written")
    func completes() {
        var ends = HalfClose()
        let isNew = ends.streamCompleted()
        #expect(isNew)
        let isNew2 = ends.streamCompleted()
        #expect(!isNew2)
        let action = ends.flushed()
        #expect(action == .close)
        let end = ends.socketClosed(isError: true)
        #expect(end == .ignored)
    }
}
