//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CQREncode

/// A QR code as text for a terminal.
struct QRCode {
    private let width: Int
    private let modules: [Bool]

    /// Width of the margin in modules (ISO/IEC 18004).
    private static let margin = 4

    /// Encodes a text.
    ///
    /// - Parameter text: Upper-case letters and digits make a smaller code.
    /// - Returns: Nil if the text is too long.
    init?(_ text: String) {
        guard let code = unsafe QRcode_encodeString(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1) else { return nil }
        defer { unsafe QRcode_free(code) }
        let width = unsafe Int(code.pointee.width)
        guard let data = unsafe code.pointee.data, width > 0 else { return nil }
        self.width = width
        // The lowest bit says whether a module is dark.
        self.modules = (0..<(width * width)).map { unsafe data[$0] & 1 == 1 }
    }

    private func isDark(_ row: Int, _ column: Int) -> Bool {
        guard (0..<self.width).contains(row), (0..<self.width).contains(column) else { return false }
        return self.modules[row * self.width + column]
    }

    /// The code in half blocks: each line of text has two rows of modules. The colors are set explicitly, so that the code is
    /// dark on light in every terminal.
    var lines: [String] {
        let range = -Self.margin..<(self.width + Self.margin)
        return stride(from: range.lowerBound, to: range.upperBound, by: 2).map { row in
            let blocks = range.map { column -> Character in
                switch (self.isDark(row, column), self.isDark(row + 1, column)) {
                case (true, true): "█"
                case (true, false): "▀"
                case (false, true): "▄"
                case (false, false): " "
                }
            }
            return "\u{1b}[38;5;16;48;5;231m" + String(blocks) + "\u{1b}[0m"
        }
    }
}
