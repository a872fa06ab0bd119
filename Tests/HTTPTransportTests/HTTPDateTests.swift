//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import HTTPTransport

@Suite("HTTP dates")
struct HTTPDateTests {
    @Test(
        "dates are formatted and parsed as IMF-fixdate (RFC 9110, section 5.6.7)",
        arguments: [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ]
    )
    func both(seconds: Int64, text: String) {
        #expect(HTTPDate.text(of: seconds) == text)
        #expect(HTTPDate.seconds(of: text) == seconds)
    }

    @Test(
        "text that is not an IMF-fixdate is rejected",
        arguments: [
            "", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GM", "Sun, 06 Nov 1994 25:49:37 GMT",
            "Su, 1 Jan -2147483648 0:0:0 G", "S, 2147483647 Jan 1 0:0:0 GMT ", "Sun, 31 Feb 1994 00:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
        ]
    )
    func none(text: String) {
        #expect(HTTPDate.seconds(of: text) == nil)
    }

    @Test(
        "extreme timestamps do not trap and give at most 30 bytes",
        arguments: [Int64.max, Int64.min, 300_000_000_000]
    )
    func beyond(seconds: Int64) {
        #expect(HTTPDate.text(of: seconds).utf8.count <= 30)
    }
}
