//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The values of an event's tags by letter, so that a filter is compared with many tags at once.
package struct TagIndex: Sendable {
    /// An event with fewer tags needs no index.
    private static let leastTags = 16

    private var values: [UInt8: Set<ByteString>] = [:]

    /// Returns nil for an event with few tags.
    package init?(_ event: Event) {
        guard event.tags.count >= Self.leastTags else { return nil }
        for tag in event.tags {
            if let letter = tag.indexedLetter, let value = tag.value { self.values[letter, default: []].insert(value) }
        }
    }

    /// Calls `body` once for each pair of a letter and a value.
    package func forEach(_ body: (UInt8, ByteString) -> Void) {
        for (letter, values) in self.values {
            for value in values { body(letter, value) }
        }
    }

    /// The values of the tags with a letter.
    package subscript(letter: UInt8) -> Set<ByteString> { self.values[letter] ?? [] }
}
