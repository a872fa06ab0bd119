//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a WebSocket message is not a Nostr message.
public enum MessageParsingError: Error, Hashable, Sendable {
    case json(JSONError)
    /// The event inside is none.
    case event(EventParsingError)
    /// A filter is none; what is wrong with it, and the subscription it was for.
    case filter(FilterParsingError, subscription: SubscriptionID)
    /// The subscription id is empty or longer than ``SubscriptionID/maximumLength``.
    case subscriptionID
    /// The message is of a type that this side does not know.
    case unknownType(String)
    /// The message of this type has too few, too many or the wrong elements.
    case shape(String)
}

extension MessageParsingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .json(let error): "malformed message: \(error)"
        case .event(let error): "\(error)"
        case .filter(let error, _): "filter: \(error)"
        case .subscriptionID: "subscription id must have 1 to \(SubscriptionID.maximumLength) characters"
        case .unknownType(let type): "unknown message type \(type)"
        case .shape(let type): "malformed \(type) message"
        }
    }
}
