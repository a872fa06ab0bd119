//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Finds what a user probably meant.
enum Suggestion {
    /// Maximum number of changed characters, as a part of the length of the word.
    private static let part = 3

    /// The candidate that is most similar to a word; nil if none is similar.
    static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
        let ranked = candidates.map { ($0, Self.distance(word.lowercased(), $0)) }
        guard let best = ranked.min(by: { $0.1 < $1.1 }), best.1 <= max(1, word.count / Self.part) else { return nil }
        return best.0
    }

    /// The end of an error message that suggests a candidate; empty if none is similar.
    static func text(for word: String, among candidates: some Sequence<String>) -> String {
        Self.nearest(to: word, among: candidates).map { "; did you mean \($0)?" } ?? ""
    }

    /// Number of insertions, deletions, substitutions and exchanges of neighbors that turn one word into another (optimal
    /// string alignment).
    private static func distance(_ left: String, _ right: String) -> Int {
        let (a, b) = (Array(left), Array(right))
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, rows[i - 1][j - 1] + 1) }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
