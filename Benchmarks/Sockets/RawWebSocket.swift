//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A minimal WebSocket client. Frames are built in advance, so that sending one costs only a copy.
final class RawWebSocket: @unchecked Sendable {
    private let socket: BlockingSocket
    private var buffer = [UInt8](repeating: 0, count: 1 << 20)
    private var start = 0
    private var end = 0
    /// The first 32 hex digits of the ID of each received event. An ID is a hash, so half of it identifies the event.
    private var seen: Set<ArraySlice<UInt8>> = []

    init(port: UInt16) throws {
        self.socket = try BlockingSocket(port: port)
        // Without a timeout, the benchmark would wait forever for an event that the relay lost.
        var timeout = timeval(tv_sec: 15, tv_usec: 0)
        setsockopt(
            self.socket.descriptor,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &timeout,
            socklen_t(MemoryLayout<timeval>.size)
        )
        let request =
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        try self.socket.write(Array(request.utf8))
        var answer: [UInt8] = []
        while answer.suffix(4) != [13, 10, 13, 10] { answer += try self.socket.read(exactly: 1) }
        guard answer.starts(with: Array("HTTP/1.1 101".utf8)) else {
            throw BlockingSocket.Failure(what: "the server on port \(port) did not upgrade to WebSocket")
        }
    }

    /// Returns a text frame with a masked payload.
    static func frame(_ text: some Collection<UInt8>) -> [UInt8] {
        let mask: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        var frame: [UInt8] = [0x81]
        switch text.count {
        case ..<126: frame.append(0x80 | UInt8(text.count))
        case ..<65_536: frame += [0x80 | 126, UInt8(text.count >> 8), UInt8(text.count & 255)]
        default: frame += [0x80 | 127] + (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (56 - $0 * 8)) }
        }
        frame += mask
        frame.reserveCapacity(frame.count + text.count)
        for (index, byte) in text.enumerated() { frame.append(byte ^ mask[index & 3]) }
        return frame
    }

    func send(_ frame: [UInt8]) throws { try self.socket.write(frame) }

    func send(text: String) throws { try self.send(Self.frame(Array(text.utf8))) }

    /// Returns the next text message.
    ///
    /// Release the returned slice before the next call; otherwise that call copies the whole buffer.
    func receive() throws -> ArraySlice<UInt8> {
        while true {
            try self.fill(2)
            let opcode = self.buffer[self.start] & 15
            var length = Int(self.buffer[self.start + 1] & 127)
            var head = 2
            if length == 126 {
                try self.fill(4)
                length = Int(self.buffer[self.start + 2]) << 8 | Int(self.buffer[self.start + 3])
                head = 4
            } else if length == 127 {
                try self.fill(10)
                length = (2..<10).reduce(0) { $0 << 8 | Int(self.buffer[self.start + $1]) }
                head = 10
            }
            try self.fill(head + length)
            let payload = self.start + head
            self.start = payload + length
            if opcode == 1 { return self.buffer[payload..<self.start] }
        }
    }

    private func fill(_ count: Int) throws {
        if self.start + count > self.buffer.count {
            self.buffer.replaceSubrange(0..<(self.end - self.start), with: self.buffer[self.start..<self.end])
            (self.start, self.end) = (0, self.end - self.start)
        }
        while self.end - self.start < count {
            if self.start == self.end { (self.start, self.end) = (0, 0) }
            let part = self.buffer.withUnsafeMutableBytes {
                recv(self.socket.descriptor, $0.baseAddress! + self.end, $0.count - self.end, 0)
            }
            guard part > 0 else {
                throw BlockingSocket.Failure(
                    what: part == 0 ? "the relay closed the connection" : "receiving from the relay",
                    code: part == 0 ? 0 : errno
                )
            }
            self.end += part
        }
    }

    /// Shuts the connection down; pending reads and writes fail.
    func abort() { self.socket.abort() }

    /// Waits for a message that begins with one of `heads`; returns the index of that head.
    @discardableResult
    func wait(for heads: [String]) throws -> Int {
        let heads = heads.map { Array($0.utf8) }
        while true {
            let message = try self.receive()
            if let index = heads.firstIndex(where: { message.starts(with: $0) }) { return index }
        }
    }

    /// Reads until `count` more events have arrived; throws if an event arrives twice.
    func collectEvents(_ count: Int) throws {
        let event = Array("[\"EVENT\"".utf8)
        let goal = self.seen.count + count
        while self.seen.count < goal {
            let message = try self.receive()
            guard message.starts(with: event) else { continue }
            // Relays write the members of an event in different orders. The content can be long, so search only the
            // beginning and the end of the message.
            guard let id = Self.idPrefix(in: message.prefix(512)) ?? Self.idPrefix(in: message.suffix(512)) else {
                throw BlockingSocket.Failure(what: "received an event without an id")
            }
            guard self.seen.insert(id).inserted else { throw BlockingSocket.Failure(what: "received an event twice") }
        }
    }

    /// Returns the first half of the event's `id`, if `text` contains it.
    private static func idPrefix(in text: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        let key = Array("\"id\":\"".utf8)
        var start = text.startIndex
        while start + key.count + 32 <= text.endIndex {
            if text[start] == key[0], text[start..<(start + key.count)].elementsEqual(key) {
                return ArraySlice(Array(text[(start + key.count)..<(start + key.count + 32)]))
            }
            start += 1
        }
        return nil
    }
}
