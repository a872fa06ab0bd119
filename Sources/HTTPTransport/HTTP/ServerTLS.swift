//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOSSL
import Synchronization

/// A server's certificate and key, which can be renewed while it runs: new connections get the new ones.
public final class ServerTLS: Sendable {
    private let context: Mutex<NIOSSLContext>

    /// Reads PEM files.
    ///
    /// - Parameters:
    ///   - certificateFile: The chain, the server's own first.
    ///   - keyFile: The key of the first.
    /// - Throws: If a file cannot be read, or they do not belong together.
    public init(certificateFile: String, keyFile: String) throws {
        let chain = try NIOSSLCertificate.fromPEMFile(certificateFile).map { NIOSSLCertificateSource.certificate($0) }
        let key = try NIOSSLPrivateKey(file: keyFile, format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain,
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = .tlsv12
        self.context = Mutex(try NIOSSLContext(configuration: configuration))
    }

    /// Takes the certificate of another.
    public func replace(with other: ServerTLS) {
        let context = other.context.withLock { $0 }
        self.context.withLock { $0 = context }
    }

    func makeHandler() -> NIOSSLServerHandler {
        NIOSSLServerHandler(context: self.context.withLock { $0 })
    }
}
