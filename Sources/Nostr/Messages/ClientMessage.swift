//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto

/// A message from a client to a relay (NIP-01, NIP-42).
package enum ClientMessage: Sendable {
    /// EVENT: publishes an event.
    case event(ReceivedEvent)
    /// REQ: subscribes to the events that match any of the filters.
    case request(SubscriptionID, [Filter])
    /// CLOSE: ends a subscription.
    case close(SubscriptionID)
    /// AUTH: answers the relay's challenge (NIP-42).
    case authentication(Event)

    /// Parses a message.
    ///
    /// - Parameter maximumFilters: The maximum number of filters in a REQ. More are an error.
    package static func parse(_ buffer: ByteBuffer, maximumFilters: Int) throws(MessageParsingError) -> ClientMessage {
        var scanner = JSONScanner(buffer)
        do {
            try scanner.expect(UInt8(ascii: "["))
            let type = try scanner.scanString()
            let message: ClientMessage
            if scanner.matches(type, "EVENT") {
                try scanner.expect(UInt8(ascii: ","))
                message = .event(try ReceivedEvent.scan(&scanner))
                try scanner.expect(UInt8(ascii: "]"))
            } else if scanner.matches(type, "REQ") {
                message = try Self.scanRequest(&scanner, maximumFilters: maximumFilters)
            } else if scanner.matches(type, "CLOSE") {
                message = .close(try Self.scanSubscriptionID(&scanner))
                guard try scanner.take(UInt8(ascii: "]")) else { throw MessageParsingError.shape("CLOSE") }
            } else if scanner.matches(type, "AUTH") {
                try scanner.expect(UInt8(ascii: ","))
                message = .authentication(try ReceivedEvent.scan(&scanner).event)
                try scanner.expect(UInt8(ascii: "]"))
            } else {
                let name = String(decoding: scanner.bytes(of: type).prefix(32), as: UTF8.self)
                throw MessageParsingError.unknownType(name)
            }
            try scanner.expectEnd()
            return message
        } catch let error as MessageParsingError {
            throw error
        } catch let error as JSONError {
            throw .json(error)
        } catch {
            throw .shape("client")
        }
    }

    private static func scanSubscriptionID(_ scanner: inout JSONScanner) throws -> SubscriptionID {
        try scanner.expect(UInt8(ascii: ","))
        let string = try scanner.scanString()
        guard let id = SubscriptionID(ByteString(scanner.bytes(of: string))) else {
            throw MessageParsingError.subscriptionID
        }
        return id
    }

    private static func scanRequest(_ scanner: inout JSONScanner, maximumFilters: Int) throws -> ClientMessage {
        let id = try Self.scanSubscriptionID(&scanner)
        var filters: [Filter] = []
        while try scanner.takeSeparator(or: UInt8(ascii: "]")) {
            guard filters.count < maximumFilters else {
                throw MessageParsingError.filter(.tooMany(maximumFilters), subscription: id)
            }
            let value = try JSONValue.scan(&scanner, depth: 1)
            do {
                filters.append(try Filter(value))
            } catch {
                throw MessageParsingError.filter(error, subscription: id)
            }
        }
        guard !filters.isEmpty else { throw MessageParsingError.shape("REQ") }
        return .request(id, filters)
    }

    /// Encodes the message as JSON.
    package func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        switch self {
        case .event(let received):
            buffer.reserveCapacity(received.json.readableBytes + 16)
            buffer.writeStaticString("[\"EVENT\",")
            buffer.writeImmutableBuffer(received.json)
        case .request(let id, let filters):
            buffer.writeStaticString("[\"REQ\",")
            buffer.writeJSONString(id.bytes.bytes)
            for filter in filters {
                buffer.writeStaticString(",")
                filter.write(into: &buffer)
            }
        case .close(let id):
            buffer.writeStaticString("[\"CLOSE\",")
            buffer.writeJSONString(id.bytes.bytes)
        case .authentication(let event):
            buffer.writeStaticString("[\"AUTH\",")
            event.write(into: &buffer)
        }
        buffer.writeStaticString("]")
        return buffer
    }

    /// Number of bytes that follow the content of an event in an EVENT message: the signature, and what surrounds it.
    package static let lengthAfterContent = "\",\"sig\":\"\"}]".utf8.count + 2 * SchnorrSignature.length

    /// Encodes an EVENT message that publishes `event`.
    package static func encodeEvent(_ event: Event) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(event.content.readableBytes + 640)
        buffer.writeStaticString("[\"EVENT\",")
        event.write(into: &buffer)
        buffer.writeStaticString("]")
        return buffer
    }
}
