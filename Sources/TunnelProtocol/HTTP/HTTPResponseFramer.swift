//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Finds the end of the response to a request. The proxy forwards the response unchanged. The framer performs no I/O.
///
/// If the end of a response is uncertain, nothing may follow it on the connection, because the client may find a
/// different end.
package struct HTTPResponseFramer {
    private enum State {
        case head(HTTPHeadReader)
        case body(HTTPBodyReader)
        /// The response continues until the connection closes.
        case untilClose
        /// The response is malformed or unexpected, so its end is uncertain.
        case uncertainEnd
        case complete
        /// The connection has upgraded to another protocol.
        case upgraded
    }

    private let isHead: Bool
    private let allowsUpgrade: Bool
    private var state = State.head(HTTPHeadReader())
    /// Whether any byte has been received.
    package private(set) var hasBegun = false

    /// - Parameters:
    ///   - isHead: Whether the request is HEAD, whose response has no body.
    ///   - allowsUpgrade: Whether the request has an Upgrade field, so that the service may switch to another protocol.
    package init(isHead: Bool, allowsUpgrade: Bool) {
        self.isHead = isHead
        self.allowsUpgrade = allowsUpgrade
    }

    package var isComplete: Bool { if case .complete = self.state { true } else { false } }

    /// Whether the response is malformed or unexpected, so that its end is uncertain.
    package var hasUncertainEnd: Bool { if case .uncertainEnd = self.state { true } else { false } }

    /// Whether the response was 101 (RFC 9110, section 15.2.2).
    package var isUpgraded: Bool { if case .upgraded = self.state { true } else { false } }

    /// Returns how many bytes at the start of `bytes` belong to the response. After a switch to another protocol, or if
    /// the end is uncertain, all bytes belong to it.
    package mutating func receive(_ bytes: ByteBuffer) -> Int {
        var rest = bytes
        while rest.readableBytes > 0 {
            self.hasBegun = true
            switch self.state {
            case .head(var reader):
                do {
                    let head = try reader.read(&rest)
                    self.state = .head(reader)
                    if let head { self.state = self.state(after: head) }
                } catch {
                    self.state = .uncertainEnd
                }
            case .body(var reader):
                guard let count = try? reader.read(rest) else {
                    self.state = .uncertainEnd
                    continue
                }
                self.state = reader.isComplete ? .complete : .body(reader)
                rest.moveReaderIndex(forwardBy: count)
            case .untilClose, .uncertainEnd, .upgraded:
                return bytes.readableBytes
            case .complete:
                return bytes.readableBytes - rest.readableBytes
            }
        }
        return bytes.readableBytes
    }

    private func state(after head: HTTPHead) -> State {
        let line = head.startLine
        guard line.count >= 12, line.starts(with: "HTTP/1.".utf8), line[8] == 0x20,
            let status = Int(String(decoding: line[9..<12], as: UTF8.self)), line.count == 12 || line[12] == 0x20
        else { return .uncertainEnd }
        switch status {
        case 101: return self.allowsUpgrade ? .upgraded : .uncertainEnd
        case 100..<200: return .head(HTTPHeadReader())
        case 204, 304: return .complete
        default: break
        }
        if self.isHead { return .complete }
        let isOld = line[7] == UInt8(ascii: "0")
        let body: HTTPBodyReader
        do {
            guard let length = try head.bodyLength(allowsChunked: !isOld) else { return .untilClose }
            body = HTTPBodyReader(length)
        } catch {
            return .uncertainEnd
        }
        return body.isComplete ? .complete : .body(body)
    }
}
