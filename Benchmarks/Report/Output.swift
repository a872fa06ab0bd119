//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Writes a line at once, into a file too.
func say(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}
