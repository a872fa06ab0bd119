//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The reason why a WebSocket message is not a Nostr message.
package enum MessageParsingError: Error, Hashable, Sendable {
    /// The message is not valid JSON, or not of the form that Nostr requires.
    case json(JSONError)
    /// The event in the message is invalid.
    case event(EventParsingError)
    /// A filter of the REQ for this subscription is invalid.
    case filter(FilterParsingError, subscription: SubscriptionID)
    /// The subscription ID is empty or longer than ``SubscriptionID/maximumLength``.
    case subscriptionID
    /// The message type is unknown. The value holds the first 32 bytes of the type.
    case unknownType(String)
    /// A message of this type has too few, too many or the wrong elements.
    case shape(String)
}

extension MessageParsingError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .json(let error): "malformed message: \(error)"
        case .event(let error): "\(error)"
        case .filter(let error, _): "\(error)"
        case .subscriptionID: "subscription ID must have 1 to \(SubscriptionID.maximumLength) characters"
        case .unknownType(let type): "unknown message type \(type)"
        case .shape(let type): "malformed \(type) message"
        }
    }
}
