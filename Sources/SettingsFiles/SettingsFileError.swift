//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What is wrong with a file of settings, in words that name the file and the line.
public struct SettingsFileError: Error, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}
