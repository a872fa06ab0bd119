//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// An event as it came over the wire, with its own bytes, so that a relay hands on what it got.
public struct ReceivedEvent: Sendable {
    public let event: Event
    /// The JSON object, a slice of the message.
    public let json: ByteBuffer

    public init(event: Event, json: ByteBuffer) {
        self.event = event
        self.json = json
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
