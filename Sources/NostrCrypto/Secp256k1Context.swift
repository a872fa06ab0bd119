//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSecp256k1

/// The libsecp256k1 context that the whole process shares. It is randomized once, when it is created.
///
/// libsecp256k1 allows concurrent calls of functions that take a `const` context. After `init`, this module calls no
/// others.
@safe
final class Secp256k1Context: @unchecked Sendable {
    static let shared = Secp256k1Context()

    let pointer: OpaquePointer

    private init() {
        // Creation fails only if no memory is left.
        guard let context = unsafe secp256k1_context_create(UInt32(SECP256K1_CONTEXT_NONE)) else {
            preconditionFailure("secp256k1_context_create returned no context")
        }
        let seed = Bytes32.random().bytes
        let randomized = unsafe secp256k1_context_randomize(context, seed)
        precondition(randomized == 1, "secp256k1_context_randomize failed")
        unsafe self.pointer = context
    }
}
