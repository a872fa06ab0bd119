//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// An event that an engine reports to be counted: dropped input, or a notable decision.
package enum ProtocolReport: String, Hashable, Sendable, CaseIterable {
    /// A message that is not valid in the protocol.
    case malformedMessage = "malformed_message"
    /// A message of an unknown type.
    case unknownType = "unknown_type"
    /// Data or control for a stream that does not exist.
    case unknownStream = "unknown_stream"
    /// A CONNECT, OFFER or CONNECTR for a stream that exists or has ended.
    case duplicateConnect = "duplicate_connect"
    /// A CONNECT, OFFER or CONNECTR whose date is outside the accepted window.
    case staleConnect = "stale_connect"
    /// A stream or an offer that exceeds a limit.
    case tooManyStreams = "too_many_streams"
    /// A CONNECTR for an exit that does not accept reverse connections.
    case reverseConnect = "reverse_connect"
    /// A message that only the other role may receive.
    case wrongDirection = "wrong_direction"
    /// The exit did not accept the offer of a session. The stream continues in plain NIP-74.
    case fellBackToPlain = "fell_back_to_plain"
    /// A relay rejected a message because of its rate limit. The message is sent again later.
    case backedOff = "backed_off"
    /// A plain NIP-74 message from an exit with which only a session is allowed. The message was dropped.
    case downgradeRefused = "downgrade_refused"
    /// A message of this node that a relay sent back.
    case reflected
    /// A client reports that another exit uses the exit's key.
    case duplicateKey = "duplicate_key"
    /// A packet that arrived on a path other than the one in its header.
    case wrongPath = "wrong_path"
    /// A packet whose number was received before.
    case repeatedPacket = "repeated_packet"
    /// The peer violated the session protocol.
    case protocolViolation = "protocol_violation"
    /// A CONNECT that was served before, or that cannot be recorded in the replay table.
    case replayedConnect = "replayed_connect"
    /// Plain NIP-74 data for a stream that continues in a session.
    case afterAcceptance = "after_acceptance"
}
