//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The error for a state file whose content cannot be trusted. It says what to do.
package struct DamagedStateFile: Error, CustomStringConvertible {
    package let description: String
}
