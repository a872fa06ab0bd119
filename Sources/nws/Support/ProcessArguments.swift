//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CProcess

/// The arguments of this process.
///
/// On Linux, `CommandLine.arguments` reads them from /proc, and is empty where that is not mounted.
enum ProcessArguments {
    /// The arguments, with the program's name as the first.
    static let all: [String] = {
        let count = nws_argument_count()
        guard count > 0 else { return CommandLine.arguments }
        return (0..<count).map { index in
            guard let text = unsafe nws_argument(index) else { return "" }
            return unsafe String(cString: text)
        }
    }()

    /// The arguments without the program's name.
    static var own: [String] { Array(Self.all.dropFirst()) }
}
