//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

extension MessageToken {
    /// Encodes the path and number of a packet.
    init(path: PathID, number: UInt64) {
        self.init(rawValue: UInt64(path.rawValue) << 56 | number & (1 << 56 - 1))
    }

    /// The path of the packet.
    var path: PathID { PathID(rawValue: Int(self.rawValue >> 56)) }
    /// The number of the packet.
    package var number: UInt64 { self.rawValue & (1 << 56 - 1) }
}
