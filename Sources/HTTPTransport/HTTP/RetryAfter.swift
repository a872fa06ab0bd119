//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1

/// The Retry-After header field (RFC 9110, section 10.2.3).
enum RetryAfter {
    /// Longest wait that is taken from a server.
    static let longest: TimeAmount = .hours(1)

    /// The time to wait before the next attempt, at most ``longest``. Nil if the field is missing or malformed.
    ///
    /// A date is compared with the response's Date header field, so that the clock of this machine does not matter.
    static func wait(_ headers: HTTPHeaders) -> TimeAmount? {
        guard let text = headers.first(name: "Retry-After") else { return nil }
        let seconds: Int64
        if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            seconds = Int64(text) ?? .max
        } else if let date = HTTPDate.seconds(of: text),
            let now = headers.first(name: "Date").flatMap(HTTPDate.seconds) ?? HTTPDate.seconds(of: HTTPDate.now)
        {
            seconds = max(0, date - now)
        } else {
            return nil
        }
        return .seconds(min(seconds, Self.longest.nanoseconds / 1_000_000_000))
    }
}
