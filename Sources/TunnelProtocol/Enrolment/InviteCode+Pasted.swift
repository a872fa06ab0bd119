//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

extension InviteCode {
    /// Maximum number of pieces into which a message may have broken the line.
    private static let maximumPieces = 32

    /// Finds the line in a text that people paste: with words, quotes or marks of a terminal around it, and wrapped.
    package init(pasted text: String) throws(DecodingError) {
        let marks = ["\u{1B}[200~", "\u{1B}[201~"]
        let plain = marks.reduce(text) { $0.split(separator: $1, omittingEmptySubsequences: false).joined() }
        guard let start = plain.lowercased().firstRange(of: Self.prefix + "1")?.lowerBound else { throw .notInvite }
        // The two texts have the same characters up to here, and lower case does not change their number.
        let offset = plain.lowercased().distance(from: plain.lowercased().startIndex, to: start)
        var line = ""
        var firstError: DecodingError?
        let pieces = plain.dropFirst(offset).split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
        for piece in pieces.prefix(Self.maximumPieces) {
            line += piece
            do {
                self = try InviteCode(line)
                return
            } catch {
                firstError = firstError ?? error
            }
        }
        throw firstError ?? .damaged
    }
}
