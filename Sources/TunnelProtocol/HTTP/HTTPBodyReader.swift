//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Finds the end of an HTTP/1 message body (RFC 9112, sections 6 and 7).
///
/// The proxy forwards the body unchanged, so the reader only counts its bytes. It performs no I/O.
package struct HTTPBodyReader {
    private enum State: Equatable {
        case fixed(UInt64)
        /// In a chunk size. The values are the size so far and the number of its digits.
        case chunkSize(UInt64, digits: Int)
        /// In a chunk extension. The value is the chunk size.
        case chunkExtension(UInt64)
        /// After the CR that follows a chunk size or its extensions. The value is the chunk size.
        case chunkLineFeed(UInt64)
        case chunkData(UInt64)
        /// After the data of a chunk, before CR LF.
        case chunkReturn
        case chunkEnd
        case trailer
        case trailerLine
        case trailerLineFeed(isLast: Bool)
        case untilClose
        case complete
    }

    /// Maximum total length in bytes of the chunk extensions and the trailer fields of a body.
    package static let maximumExtensions = 64 << 10
    /// Maximum number of hexadecimal digits of a chunk size.
    private static let maximumDigits = 15

    private var state: State
    private var extensions = 0

    package init(_ length: HTTPBodyLength) {
        self.state =
            switch length {
            case .fixed(0): .complete
            case .fixed(let count): .fixed(count)
            case .chunked: .chunkSize(0, digits: 0)
            case .untilClose: .untilClose
            }
    }

    package var isComplete: Bool { self.state == .complete }

    /// Returns how many bytes at the start of `bytes` belong to the body.
    ///
    /// - Throws: ``HTTPHead/Malformed/chunk`` if the chunked coding is invalid or exceeds a limit.
    package mutating func read(_ bytes: ByteBuffer) throws(HTTPHead.Malformed) -> Int {
        let view = bytes.readableBytesView
        var index = view.startIndex
        while index < view.endIndex {
            switch self.state {
            case .complete:
                return index - view.startIndex
            case .untilClose:
                index = view.endIndex
            case .fixed(let rest):
                let count = min(rest, UInt64(view.endIndex - index))
                self.state = count == rest ? .complete : .fixed(rest - count)
                index += Int(count)
            case .chunkData(let rest):
                let count = min(rest, UInt64(view.endIndex - index))
                self.state = count == rest ? .chunkReturn : .chunkData(rest - count)
                index += Int(count)
            default:
                self.state = try self.state(after: view[index])
                index += 1
            }
        }
        return index - view.startIndex
    }

    /// Returns the state after `byte`, which is part of the chunked coding and not of the chunk data.
    private mutating func state(after byte: UInt8) throws(HTTPHead.Malformed) -> State {
        let (carriageReturn, lineFeed) = (UInt8(ascii: "\r"), UInt8(ascii: "\n"))
        switch (self.state, byte) {
        case (.chunkSize(let size, let digits), _):
            if let digit = Character(UnicodeScalar(byte)).hexDigitValue, byte < 0x80 {
                guard digits < Self.maximumDigits else { throw .chunk }
                return .chunkSize(size << 4 | UInt64(digit), digits: digits + 1)
            }
            guard digits > 0 else { throw .chunk }
            if byte == carriageReturn { return .chunkLineFeed(size) }
            guard byte == UInt8(ascii: ";") else { throw .chunk }
            return .chunkExtension(size)
        case (.chunkExtension(let size), carriageReturn):
            return .chunkLineFeed(size)
        case (.trailerLine, carriageReturn):
            return .trailerLineFeed(isLast: false)
        case (.chunkExtension, _), (.trailerLine, _):
            self.extensions += 1
            guard self.extensions <= Self.maximumExtensions, byte >= 0x20 || byte == 0x09, byte != 0x7f else {
                throw .chunk
            }
            return self.state
        case (.chunkLineFeed(let size), lineFeed):
            return size == 0 ? .trailer : .chunkData(size)
        case (.chunkReturn, carriageReturn):
            return .chunkEnd
        case (.chunkEnd, lineFeed):
            return .chunkSize(0, digits: 0)
        case (.trailer, carriageReturn):
            return .trailerLineFeed(isLast: true)
        case (.trailer, _):
            guard HTTPHead.Field.isToken(CollectionOfOne(byte)) else { throw .chunk }
            return .trailerLine
        case (.trailerLineFeed(let isLast), lineFeed):
            return isLast ? .complete : .trailer
        default:
            throw .chunk
        }
    }
}
