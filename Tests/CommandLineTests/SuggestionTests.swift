//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import nws

@Suite("Suggestions")
struct SuggestionTests {
    private static let words = ["exit", "entry", "relay", "connect", "max-streams"]

    @Test(
        "the most similar word is suggested, and none if the word is unlike all of them",
        arguments: [
            ("exti", "exit"), ("exits", "exit"), ("realy", "relay"), ("EXIT", "exit"), ("conect", "connect"),
            ("max-stream", "max-streams"), ("bananas", nil), ("x", nil), ("", nil),
        ] as [(String, String?)]
    )
    func nearest(word: String, suggestion: String?) {
        #expect(Suggestion.nearest(to: word, among: Self.words) == suggestion)
    }
}
