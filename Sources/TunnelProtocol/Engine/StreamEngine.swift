//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// Carries streams between two keys through relays: a session, or plain NIP-74.
///
/// Pure: inputs are methods that take the time, outputs come out of ``nextAction()``. There is no clock, socket, key or
/// task inside. What only one of the two engines can do is a method of that engine, or one of its ``Signal``s.
///
/// Bytes flow under credit. The engine grants credit to send with ``StreamAction/credit(_:_:)``. A driver stops reading its
/// socket when the credit is used up, and may exceed it by one read. With ``consumed(_:_:at:)`` the driver reports what it
/// passed on, and the engine limits what it delivers ahead of that.
public protocol StreamEngine: SendableMetatype {
    /// What an engine reports or asks for beyond the actions that both engines have.
    associatedtype Signal: Sendable

    /// Whether the engine recognizes repeated messages itself. If not, the driver delivers each event id once.
    static var recognizesRepeatedMessages: Bool { get }

    // MARK: Streams

    /// The target of an ``StreamAction/incoming(_:_:)`` stream is connected (exit).
    mutating func connected(_ stream: StreamID, at now: Moment)
    /// Sends bytes, within the credit.
    mutating func send(_ stream: StreamID, _ data: ByteBuffer, at now: Moment)
    /// No more bytes will be sent.
    mutating func finish(_ stream: StreamID, at now: Moment)
    /// Ends the stream in both directions. No further action names it.
    mutating func reset(_ stream: StreamID, _ reason: StreamEnd, at now: Moment)
    /// Bytes that were delivered were passed on.
    mutating func consumed(_ stream: StreamID, _ bytes: Int, at now: Moment)

    // MARK: Messages

    /// A message of the peer: decrypted, and its author checked.
    ///
    /// - Parameter generation: Of the keys that it was sealed with; 0 where there is one pair only.
    mutating func receive(_ plaintext: [UInt8], createdAt: Int64, generation: Int, path: PathID, at now: Moment)
    /// The result of a ``StreamAction/publish(_:plaintext:createdAt:paths:)``.
    mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment)

    // MARK: Paths

    /// A path can be used, or its description changed.
    mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment)
    /// The path's connection ended. The path may be added again later.
    mutating func removePath(_ path: PathID, at now: Moment)
    /// The path's send buffer ran full, or drained.
    mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment)

    // MARK: Life

    /// Ends all streams and tells the peer, if the protocol has a message for that.
    ///
    /// - Parameter reason: Nil if no error occurred.
    mutating func close(_ reason: StreamEnd?, at now: Moment)
    /// The time of ``nextDeadline`` has come.
    mutating func timeout(at now: Moment)
    /// When to call ``timeout(at:)``; nil for never.
    var nextDeadline: NIODeadline? { get }
    /// The next thing to do. Call it until nil after every input.
    mutating func nextAction() -> StreamAction<Signal>?
    /// Streams that have not ended.
    var streamCount: Int { get }
    /// Whether the engine can be dropped without losing anything.
    var isIdle: Bool { get }
}

/// What an engine wants its driver to do.
public enum StreamAction<Signal: Sendable>: Sendable {
    /// Seal, sign and send one event to every one of the paths. It counts as accepted when the first relay accepts it, and
    /// as rejected when all relays have rejected it.
    case publish(MessageToken, plaintext: [UInt8], createdAt: Int64, paths: [PathID])
    /// The peer opened a stream (exit): connect its target, then call ``StreamEngine/connected(_:at:)`` or
    /// ``StreamEngine/reset(_:_:at:)``. Data may come before.
    case incoming(StreamID, StreamRequest)
    /// The stream is open (entry).
    case opened(StreamID)
    /// More bytes may be sent.
    case credit(StreamID, Int)
    /// Bytes of the peer.
    case data(StreamID, ByteBuffer)
    /// The peer sends no more.
    case finished(StreamID)
    /// The stream ended in both directions. Nil if everything was transferred.
    case ended(StreamID, StreamEnd?)
    /// Something that only this engine has.
    case signal(Signal)
    /// Something to count.
    case report(ProtocolReport)
}
