//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import nws

@Suite("Time spans")
struct TimeSpanTests {
    @Test(
        "a time span is a number with a unit",
        arguments: [
            ("90", 90), ("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("1H", 3_600), ("0", nil),
            ("", nil),
            ("h", nil), ("-1h", nil), ("1.5h", nil), ("1w", 604_800), ("1y", nil), ("9999999999999999999d", nil),
            ("4000d", nil),
        ] as [(String, Int64?)]
    )
    func parsing(text: String, seconds: Int64?) { #expect(TimeSpan(text)?.seconds == seconds) }

    @Test(
        "a time span is printed in the largest unit of which there are at least two, or exactly one",
        arguments: [(86_400, "1 day"), (172_800, "2 days"), (3_600, "1 hour"), (5_400, "90 minutes"), (1, "1 second")]
            as [(Int64, String)]
    )
    func printing(seconds: Int64, text: String) { #expect(TimeSpan.text(seconds) == text) }
}
