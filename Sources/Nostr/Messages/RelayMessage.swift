//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto

/// A message from a relay to a client (NIP-01, NIP-42).
package enum RelayMessage: Sendable {
    /// EVENT: an event that matches a subscription.
    case event(SubscriptionID, ReceivedEvent)
    /// OK: the relay accepted or rejected a published event.
    case ok(EventID, accepted: Bool, ReasonText)
    /// EOSE: the relay has sent all stored events of a subscription.
    case endOfStoredEvents(SubscriptionID)
    /// CLOSED: the relay rejected or ended a subscription.
    case closed(SubscriptionID, ReasonText)
    /// NOTICE: a human-readable message.
    case notice(String)
    /// AUTH: a challenge to sign (NIP-42).
    case challenge(String)

    /// Maximum length in bytes of a reason, notice or challenge. Longer texts are truncated.
    static let maximumTextLength = 1024

    /// Parses a message.
    ///
    /// Except in EVENT, everything after the expected elements is ignored, even if it is not valid JSON.
    ///
    /// - Throws: ``MessageParsingError``. An unknown message type is ``MessageParsingError/unknownType(_:)``.
    package static func parse(_ buffer: ByteBuffer) throws(MessageParsingError) -> RelayMessage {
        var scanner = JSONScanner(buffer)
        do {
            try scanner.expect(UInt8(ascii: "["))
            let type = try scanner.scanString()
            if scanner.matches(type, "EVENT") {
                let id = try Self.scanSubscriptionID(&scanner)
                try scanner.expect(UInt8(ascii: ","))
                let event = try ReceivedEvent.scan(&scanner)
                try scanner.expect(UInt8(ascii: "]"))
                try scanner.expectEnd()
                return .event(id, event)
            }
            if scanner.matches(type, "OK") {
                try scanner.expect(UInt8(ascii: ","))
                let string = try scanner.scanString()
                // Accept either case: some relays send the ID in upper case.
                guard let id = Bytes32(hex: String(decoding: scanner.bytes(of: string), as: UTF8.self)) else {
                    throw MessageParsingError.shape("OK")
                }
                try scanner.expect(UInt8(ascii: ","))
                guard let accepted = try JSONValue.scan(&scanner, depth: 1).bool else {
                    throw MessageParsingError.shape("OK")
                }
                return .ok(EventID(id), accepted: accepted, ReasonText(try Self.scanText(&scanner) ?? ""))
            }
            if scanner.matches(type, "EOSE") {
                return .endOfStoredEvents(try Self.scanSubscriptionID(&scanner))
            }
            if scanner.matches(type, "CLOSED") {
                let id = try Self.scanSubscriptionID(&scanner)
                return .closed(id, ReasonText(try Self.scanText(&scanner) ?? ""))
            }
            if scanner.matches(type, "NOTICE") {
                return .notice(try Self.scanText(&scanner) ?? "")
            }
            if scanner.matches(type, "AUTH") {
                guard let challenge = try Self.scanText(&scanner), !challenge.isEmpty else {
                    throw MessageParsingError.shape("AUTH")
                }
                return .challenge(challenge)
            }
            throw MessageParsingError.unknownType(
                String(decoding: scanner.bytes(of: type).prefix(32), as: UTF8.self)
            )
        } catch let error as MessageParsingError {
            throw error
        } catch let error as JSONError {
            throw .json(error)
        } catch {
            throw .shape("relay")
        }
    }

    private static func scanSubscriptionID(_ scanner: inout JSONScanner) throws -> SubscriptionID {
        try scanner.expect(UInt8(ascii: ","))
        let string = try scanner.scanString()
        return SubscriptionID(unchecked: scanner.bytes(of: string))
    }

    /// The next element, truncated to ``maximumTextLength`` bytes; nil if there is none or it is not a string.
    private static func scanText(_ scanner: inout JSONScanner) throws -> String? {
        guard try scanner.takeSeparator(or: UInt8(ascii: "]")) else { return nil }
        let string = try scanner.scanString()
        return String(decoding: scanner.bytes(of: string).prefix(Self.maximumTextLength), as: UTF8.self)
    }

    /// Encodes the message as JSON.
    package func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        switch self {
        case .event(let id, let received):
            return Self.encodeEvent(id, json: received.json)
        case .ok(let id, let accepted, let reason):
            buffer.writeStaticString("[\"OK\",\"")
            buffer.writeHex(id.bytes.bytes)
            buffer.writeStaticString(accepted ? "\",true," : "\",false,")
            buffer.writeJSONString(reason.text)
        case .endOfStoredEvents(let id):
            buffer.writeStaticString("[\"EOSE\",")
            buffer.writeJSONString(id.bytes.bytes)
        case .closed(let id, let reason):
            buffer.writeStaticString("[\"CLOSED\",")
            buffer.writeJSONString(id.bytes.bytes)
            buffer.writeStaticString(",")
            buffer.writeJSONString(reason.text)
        case .notice(let text):
            buffer.writeStaticString("[\"NOTICE\",")
            buffer.writeJSONString(text)
        case .challenge(let challenge):
            buffer.writeStaticString("[\"AUTH\",")
            buffer.writeJSONString(challenge)
        }
        buffer.writeStaticString("]")
        return buffer
    }

    /// Encodes an EVENT message that delivers the event with the JSON `json` to a subscription.
    package static func encodeEvent(_ id: SubscriptionID, json: ByteBuffer) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(json.readableBytes + id.bytes.bytes.count + 16)
        buffer.writeStaticString("[\"EVENT\",")
        buffer.writeJSONString(id.bytes.bytes)
        buffer.writeStaticString(",")
        buffer.writeImmutableBuffer(json)
        buffer.writeStaticString("]")
        return buffer
    }
}
