//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The fields of an offer or acceptance: identifier, length and value of each, as the transport parameters of QUIC
/// (RFC 9000, section 18). A receiver ignores unknown identifiers.
struct ParameterList {
    /// The identifiers of version 1.
    enum Identifier: UInt64 {
        case maximumPacket = 0x03
        case maximumData = 0x04
        case maximumStreamData = 0x05
        case maximumStreams = 0x08
        case encapsulationKey = 0x20
        case ciphertext = 0x21
        case session = 0x22
        case opening = 0x23
        case opened = 0x24
        case wantsIdentity = 0x25
        case relays = 0x26
        case direct = 0x27
    }

    /// Maximum number of parameters.
    private static let maximumCount = 64

    private var values: [UInt64: ArraySlice<UInt8>] = [:]
    private var order: [UInt64] = []

    init() {}

    /// Decodes parameters. Returns nil if they are truncated, too many, or contain an identifier twice.
    init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        while buffer.readableBytes > 0 {
            guard let identifier = buffer.readVariableLengthInteger(), let value = buffer.readPrefixedBytes(),
                self.values[identifier] == nil, self.values.count < Self.maximumCount
            else { return nil }
            self.values[identifier] = value[...]
            self.order.append(identifier)
        }
    }

    var encoded: [UInt8] {
        var buffer = ByteBuffer()
        for identifier in self.order {
            buffer.writeVariableLengthInteger(identifier)
            buffer.writePrefixed(self.values[identifier] ?? [])
        }
        return Array(buffer.readableBytesView)
    }

    subscript(identifier: Identifier) -> [UInt8]? {
        get { self.values[identifier.rawValue].map(Array.init) }
        set {
            if self.values[identifier.rawValue] == nil { self.order.append(identifier.rawValue) }
            self.values[identifier.rawValue] = newValue?[...]
            if newValue == nil { self.order.removeAll { $0 == identifier.rawValue } }
        }
    }

    mutating func set(_ identifier: Identifier, to integer: UInt64) {
        var buffer = ByteBuffer()
        buffer.writeVariableLengthInteger(integer)
        self[identifier] = Array(buffer.readableBytesView)
    }

    /// The integer of a parameter, or `missing` without the parameter. Throws if the value is not one integer.
    func integer(_ identifier: Identifier, missing: UInt64) throws(SessionDecodingError) -> UInt64 {
        guard let value = self[identifier] else { return missing }
        var buffer = ByteBuffer(bytes: value)
        guard let integer = buffer.readVariableLengthInteger(), buffer.readableBytes == 0 else { throw .truncated }
        return integer
    }
}

extension ByteBuffer {
    /// Writes bytes, preceded by their length as a variable-length integer.
    mutating func writePrefixed(_ bytes: some Collection<UInt8>) {
        self.writeVariableLengthInteger(UInt64(bytes.count))
        self.writeBytes(bytes)
    }

    /// Reads bytes that ``writePrefixed(_:)`` wrote. Returns nil if they are truncated or more than `most`.
    mutating func readPrefixedBytes(most: Int = .max) -> [UInt8]? {
        guard let length = self.readVariableLengthInteger(), length <= UInt64(min(most, self.readableBytes)) else {
            return nil
        }
        return self.readBytes(length: Int(length))
    }

    /// Reads text that ``writePrefixed(_:)`` wrote. Returns nil if it is truncated, too long, or not UTF-8.
    mutating func readPrefixedText(most: Int) -> String? {
        self.readPrefixedBytes(most: most).flatMap { String(validating: $0, as: UTF8.self) }
    }
}
