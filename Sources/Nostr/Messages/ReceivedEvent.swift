//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// An event together with its original JSON.
///
/// A relay forwards the original bytes and does not encode the event again.
package struct ReceivedEvent: Sendable {
    /// The parsed event. It is not verified.
    package let event: Event
    /// The JSON object of the event. For a received event it is a slice of the message.
    package let json: ByteBuffer

    /// Creates a value from an event and its JSON.
    package init(event: Event, json: ByteBuffer) {
        self.event = event
        self.json = json
    }

    /// The same event, whose JSON does not keep much larger memory alive than its own.
    package var withoutLargerStorage: ReceivedEvent {
        guard self.json.readableBytes * 2 < self.json.storageCapacity else { return self }
        return ReceivedEvent(event: self.event, json: ByteBuffer(bytes: self.json.readableBytesView))
    }

    static func scan(_ scanner: inout JSONScanner) throws(MessageParsingError) -> ReceivedEvent {
        do {
            _ = try scanner.peek()
            let start = scanner.position
            let event = try Event.scan(&scanner)
            return ReceivedEvent(event: event, json: scanner.slice(start..<scanner.position))
        } catch let error as EventParsingError {
            throw .event(error)
        } catch let error as JSONError {
            throw .json(error)
        } catch {
            throw .shape("EVENT")
        }
    }
}
