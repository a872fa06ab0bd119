//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The streams that wait until they can be requested from an exit, in the order of the requests.
struct OpenQueue {
    private var openings: [(number: UInt64, opening: StreamOpening)] = []
    private var lastNumber: UInt64 = 0

    var isEmpty: Bool { self.openings.isEmpty }
    var first: StreamOpening? { self.openings.first?.opening }

    /// Adds an opening. The number identifies it in ``remove(_:)-(UInt64)``.
    mutating func append(_ opening: StreamOpening) -> UInt64 {
        self.lastNumber += 1
        self.openings.append((self.lastNumber, opening))
        return self.lastNumber
    }

    func contains(_ number: UInt64) -> Bool { self.openings.contains { $0.number == number } }

    mutating func removeFirst() -> StreamOpening? {
        self.openings.isEmpty ? nil : self.openings.removeFirst().opening
    }

    mutating func remove(_ number: UInt64) -> StreamOpening? {
        guard let index = self.openings.firstIndex(where: { $0.number == number }) else { return nil }
        return self.openings.remove(at: index).opening
    }

    mutating func remove(_ opening: StreamOpening) {
        self.openings.removeAll { $0.opening === opening }
    }

    mutating func removeAll() -> [StreamOpening] {
        defer { self.openings = [] }
        return self.openings.map(\.opening)
    }
}
