//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The half-close state of a socket and a stream: input is the direction from socket to stream, output the other one.
///
/// It performs no I/O. Each direction can end while the other continues (RFC 9293, section 3.6). The output ends in two
/// steps, because closing a socket drops bytes that are still queued for it.
struct HalfClose {
    private enum Output {
        case open
        /// The peer has finished sending. The socket's output closes when all bytes are written.
        case finishing
        case closed
    }

    /// What to do with the socket.
    enum Action: Equatable {
        case none
        /// Close the output; the input stays open.
        case closeOutput
        /// Close the socket.
        case close
    }

    /// What to do with the stream when the socket has closed.
    enum SocketEnd: Equatable {
        /// Both directions had ended; the stream ends by itself.
        case complete
        /// The output had ended; tell the peer that the input has ended too.
        case finish
        /// The socket closed too early: reset the stream.
        case broken
        /// The stream had ended before.
        case ignored
    }

    private var output = Output.open
    /// Whether the socket's input has ended.
    private(set) var isInputClosed = false
    /// Whether the stream has ended in both directions.
    private(set) var isStreamOver = false
    /// Whether the stream ended without an error. The socket then closes when all bytes are written.
    private var closesWhenFlushed = false

    var isOutputClosed: Bool { self.output == .closed }

    /// Records the end of the socket's input. Returns whether to tell the peer.
    mutating func inputEnded() -> Bool {
        guard !self.isInputClosed else { return false }
        self.isInputClosed = true
        return !self.isStreamOver
    }

    /// Records that the peer has finished sending.
    mutating func peerFinished() {
        if self.output == .open { self.output = .finishing }
    }

    /// Records the end of the stream. Returns false if it had ended before.
    mutating func streamEnded() -> Bool {
        guard !self.isStreamOver else { return false }
        self.isStreamOver = true
        return true
    }

    /// Records the end of the stream without an error. Returns false if it had ended before.
    mutating func streamCompleted() -> Bool {
        guard self.streamEnded() else { return false }
        self.closesWhenFlushed = true
        return true
    }

    /// Records that no bytes are queued for the socket. Returns what to do with the socket.
    mutating func flushed() -> Action {
        if self.closesWhenFlushed { return .close }
        guard self.output == .finishing else { return .none }
        self.output = .closed
        return .closeOutput
    }

    /// Records that the socket accepts no more data. This is not an error.
    mutating func discardOutput() { self.output = .closed }

    /// Records that the socket has closed. Returns what to do with the stream.
    ///
    /// - Parameter isError: Whether the socket was reset or failed.
    mutating func socketClosed(isError: Bool) -> SocketEnd {
        guard !self.isStreamOver else { return .ignored }
        guard !isError, self.output == .closed else {
            self.isStreamOver = true
            return .broken
        }
        // If the remote side closes after we closed our output, NIO reports a closed channel, not the end of the input.
        return self.inputEnded() ? .finish : .complete
    }
}
