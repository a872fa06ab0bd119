//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Finds the end of the response to a request, which passes unchanged. It performs no I/O.
///
/// Nothing may follow a response on the connection whose end is in doubt, because the client may see another end.
package struct HTTPResponseFramer {
    private enum State {
        case head(HTTPHeadReader)
        case body(HTTPBodyReader)
        /// The response lasts until the connection ends.
        case untilClose
        /// The client may see an end that is not known here.
        case doubtful
        case complete
        /// The connection changed to another protocol.
        case switched
    }

    private let isHead: Bool
    private let allowsSwitch: Bool
    private var state = State.head(HTTPHeadReader())
    /// Whether any byte came.
    package private(set) var hasBegun = false

    /// - Parameters:
    ///   - isHead: Whether the request is HEAD, whose response has no body.
    ///   - allowsSwitch: Whether the request asked for another protocol.
    package init(isHead: Bool, allowsSwitch: Bool) {
        self.isHead = isHead
        self.allowsSwitch = allowsSwitch
    }

    package var isComplete: Bool { if case .complete = self.state { true } else { false } }

    /// Whether the client may see an end that is not known here.
    package var isDoubtful: Bool { if case .doubtful = self.state { true } else { false } }

    /// Whether the response was 101 (RFC 9110, section 15.2.2).
    package var isSwitched: Bool { if case .switched = self.state { true } else { false } }

    /// Returns how many of the bytes belong to the response, or to the protocol that it changed to.
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
                    self.state = .doubtful
                }
            case .body(var reader):
                guard let count = try? reader.read(rest) else {
                    self.state = .doubtful
                    continue
                }
                self.state = reader.isComplete ? .complete : .body(reader)
                rest.moveReaderIndex(forwardBy: count)
            case .untilClose, .doubtful, .switched:
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
        else { return .doubtful }
        switch status {
        case 101: return self.allowsSwitch ? .switched : .doubtful
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
            return .doubtful
        }
        return body.isComplete ? .complete : .body(body)
    }
}
