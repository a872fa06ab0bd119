//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A protocol engine that carries streams between two keys over relays: a session, or plain NIP-74.
///
/// An engine performs no I/O. Inputs are method calls that carry the time, and outputs are returned by
/// ``nextAction()``. The engine has no clock, socket, secret key or task. Functions that only one engine has are
/// methods of that engine or cases of its ``Signal``.
///
/// Flow control is based on credit. The engine grants credit to send with ``StreamAction/credit(_:_:)``. The driver
/// stops reading from its socket when the credit is used up; it may exceed the credit by one read. The driver reports
/// consumed bytes with ``consumed(_:_:at:)``. The engine limits how many bytes are delivered and not yet consumed.
package protocol StreamEngine: SendableMetatype {
    /// Additional actions that only this engine has.
    associatedtype Signal: Sendable

    /// Whether the engine itself detects repeated messages. If it does not, the driver must not pass an event to it
    /// more than once.
    static var recognizesRepeatedMessages: Bool { get }

    // MARK: Streams

    /// Reports that the target of an ``StreamAction/incoming(_:_:)`` stream is connected (exit).
    mutating func connected(_ stream: StreamID, at now: Moment)
    /// Sends bytes. The caller must stay within the credit, except for one read.
    mutating func send(_ stream: StreamID, _ data: ByteBuffer, at now: Moment)
    /// Finishes the sending direction of the stream.
    mutating func finish(_ stream: StreamID, at now: Moment)
    /// Resets both directions of the stream. The engine emits no further actions for it.
    mutating func reset(_ stream: StreamID, _ reason: StreamEnd, at now: Moment)
    /// Delivers the bytes that were passed to ``send(_:_:at:)``, then ends both directions of the stream and emits
    /// ``StreamAction/ended(_:_:)``. Data that the peer sends meanwhile is dropped.
    mutating func resetAfterDelivery(_ stream: StreamID, _ reason: StreamEnd, at now: Moment)
    /// Reports that the driver has consumed delivered bytes, for example by writing them to its socket.
    mutating func consumed(_ stream: StreamID, _ bytes: Int, at now: Moment)

    // MARK: Messages

    /// Receives a message of the peer. The driver has decrypted it and checked its author.
    ///
    /// - Parameters:
    ///   - plaintext: The decrypted content of the event.
    ///   - createdAt: The date of the event, in seconds since 1970.
    ///   - generation: The generation of the keys that encrypted the message; 0 if there is only one pair.
    ///   - path: The path on which the message arrived.
    ///   - now: The current time.
    mutating func receive(_ plaintext: ByteBuffer, createdAt: Int64, generation: Int, path: PathID, at now: Moment)
    /// Reports the result of a ``StreamAction/publish(_:plaintext:createdAt:paths:)``.
    mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment)

    // MARK: Paths

    /// Adds a path, or updates its description.
    mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment)
    /// Reports that the connection of a path ended. The path may be added again later.
    mutating func removePath(_ path: PathID, at now: Moment)
    /// Reports that the send buffer of a path became full, or can take more data again.
    mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment)

    // MARK: Lifecycle

    /// Ends all streams, and notifies the peer if the protocol has a message for that.
    ///
    /// - Parameters:
    ///   - reason: The error that causes the end; nil if the engine is closed without an error.
    ///   - now: The current time.
    mutating func close(_ reason: StreamEnd?, at now: Moment)
    /// Processes the timers that have expired. Call this method when ``nextDeadline`` has passed.
    mutating func timeout(at now: Moment)
    /// When to call ``timeout(at:)``. Nil if no timer is set.
    var nextDeadline: NIODeadline? { get }
    /// Returns the next action for the driver. After every input, call this method until it returns nil.
    mutating func nextAction() -> StreamAction<Signal>?
    /// Number of streams that have not ended.
    var streamCount: Int { get }
    /// Whether the engine has no streams and no pending work, so that it can be discarded.
    var isIdle: Bool { get }
}

/// An action that an engine asks its driver to perform. Large and rare actions are stored indirectly, so that all others stay small.
package enum StreamAction<Signal: Sendable>: Sendable {
    /// Encrypt, sign and publish one event on each of the paths. The message counts as accepted when the first relay
    /// accepts it, and as rejected when all relays have rejected it.
    ///
    /// The event's ID has at least `work` leading zero bits (NIP-13). `compresses` says that the network, and not the processor,
    /// limits the path, so that compression makes it faster.
    case publish(
        MessageToken,
        plaintext: ByteBuffer,
        createdAt: Int64,
        paths: [PathID],
        work: Int = 0,
        compresses: Bool = false
    )
    /// The peer opened a stream (exit). Connect its target, then call ``StreamEngine/connected(_:at:)`` or
    /// ``StreamEngine/reset(_:_:at:)``. Data may arrive before that.
    indirect case incoming(StreamID, StreamRequest)
    /// The stream is open (entry).
    case opened(StreamID)
    /// The driver may send this many more bytes on the stream.
    case credit(StreamID, Int)
    /// Deliver bytes that the peer sent.
    case data(StreamID, ByteBuffer)
    /// The peer finished its sending direction.
    case finished(StreamID)
    /// Both directions of the stream ended. The reason is nil if all data was transferred.
    case ended(StreamID, StreamEnd?)
    /// An action that only this engine has.
    indirect case signal(Signal)
    /// An event to be counted.
    case report(ProtocolReport)
}
