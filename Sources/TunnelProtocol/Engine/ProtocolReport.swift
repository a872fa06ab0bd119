//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Input that an engine dropped, or a decision that operators want to count.
public enum ProtocolReport: String, Hashable, Sendable, CaseIterable {
    /// A message that is not of the protocol.
    case malformedMessage = "malformed_message"
    /// A message type that this side does not know.
    case unknownType = "unknown_type"
    /// Data or control for a stream that does not exist.
    case unknownStream = "unknown_stream"
    /// A second CONNECT for a stream.
    case duplicateConnect = "duplicate_connect"
    /// A CONNECT dated outside of the accepted window.
    case staleConnect = "stale_connect"
    /// A stream beyond the limit.
    case tooManyStreams = "too_many_streams"
    /// A CONNECTR at an exit that does not serve it.
    case reverseConnect = "reverse_connect"
    /// A message that only the other role receives.
    case wrongDirection = "wrong_direction"
    /// The exit did not answer the offer of a session; the stream continues in plain NIP-74.
    case fellBackToPlain = "fell_back_to_plain"
    /// A relay limited the rate; messages are sent again later.
    case backedOff = "backed_off"
    /// Plain NIP-74 from an exit that is known to speak sessions.
    case downgradeRefused = "downgrade_refused"
    /// A message of this side that a relay sent back.
    case reflected
    /// A packet that came by another path than the one it names.
    case wrongPath = "wrong_path"
    /// A packet that came before.
    case repeatedPacket = "repeated_packet"
    /// The peer broke the session protocol.
    case protocolViolation = "protocol_violation"
    /// A CONNECT that was served before, or cannot be remembered.
    case replayedConnect = "replayed_connect"
    /// Plain data for a stream whose session has begun.
    case afterAcceptance = "after_acceptance"
}
