//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The reason why a NIP-44 payload could not be encrypted or decrypted.
package enum NIP44Error: Error, Hashable, Sendable {
    /// The plaintext is empty or longer than ``NIP44/maximumPlaintextLength``.
    case plaintextLength
    /// The payload is empty, starts with `#`, or has a version byte other than 2.
    case unsupportedVersion
    /// The payload is shorter than ``NIP44/minimumPayloadLength`` or longer than ``NIP44/maximumPayloadLength``.
    case payloadLength
    /// The payload is not valid, padded base64.
    case invalidBase64
    /// The message authentication code does not match. Another key was used, or the payload was modified.
    case invalidMAC
    /// The length prefix does not match the padded length.
    case invalidPadding
    /// The cipher reported an error. This does not happen with the key lengths used here.
    case cipherFailed
}
