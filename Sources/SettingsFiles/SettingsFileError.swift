//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// An error in a settings file. The message names the file and, where known, the line.
package struct SettingsFileError: Error, CustomStringConvertible {
    /// The error message.
    package let description: String

    init(_ description: String) { self.description = description }
}
