//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Writes a line to standard output without buffering, even if standard output is a file.
func say(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}
