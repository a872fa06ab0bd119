//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A relay that carries messages of plain NIP-74.
struct NIP74Path {
    var description: PathDescription
    var isWritable = true
    /// The `destination` field of messages on this path.
    var destination: String

    /// Maximum number of data bytes in a message.
    var maximumData: Int {
        let plaintext = min(self.description.maximumPlaintext, NIP74Configuration.maximumPlaintext)
        let room = plaintext - NIP74Configuration.messageOverhead - self.destination.utf8.count
        return max(3, min(NIP74Configuration.maximumData, room / 4 * 3))
    }

    /// How many seconds after the current time a message may be dated.
    var maximumAhead: Int64 {
        let limit = self.description.createdAtUpperLimit.map { $0 - NIP74Configuration.aheadMargin }
        return Int64(max(0, min(NIP74Configuration.maximumAhead, limit ?? NIP74Configuration.maximumAhead)))
    }
}
