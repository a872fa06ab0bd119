//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CQREncode
import Foundation

/// A QR code as text for a terminal.
struct QRCode {
    private let width: Int
    private let modules: [Bool]

    /// Width of the margin in modules (ISO/IEC 18004).
    private static let margin = 4

    /// Width of the largest code (ISO/IEC 18004).
    private static let maximumWidth = 177

    /// Why there is no code.
    enum EncodingError: Error {
        /// libqrencode is not installed.
        case noLibrary
        /// The text is too long.
        case tooLong
    }

    /// Encodes a text.
    ///
    /// - Parameter text: Upper-case letters and digits make a smaller code.
    init(_ text: String) throws(EncodingError) {
        // A package of this program may contain the library.
        let folder = URL(filePath: Installation.path).deletingLastPathComponent().appending(path: "../lib").path
        var modules = [UInt8](repeating: 0, count: Self.maximumWidth * Self.maximumWidth)
        let width = Int(unsafe nws_qr_code(text, folder, &modules, modules.count))
        guard width >= 0 else { throw .noLibrary }
        guard width > 0 else { throw .tooLong }
        self.width = width
        self.modules = modules.prefix(width * width).map { $0 == 1 }
    }

    /// Width of the text in columns.
    var columns: Int { self.width + 2 * Self.margin }

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
