//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOConcurrencyHelpers
package import NIOSSL

/// The certificate and key of a TLS server. They can be replaced while the server is running.
package final class ServerTLS: Sendable {
    private let context: NIOLockedValueBox<NIOSSLContext>

    /// Reads a certificate chain and a private key from PEM files. The minimum TLS version is 1.2.
    ///
    /// - Parameters:
    ///   - certificateFile: The certificate chain, with the certificate of the server first.
    ///   - keyFile: The private key of the server's certificate.
    /// - Throws: If a file cannot be read, or if the key does not match the certificate.
    package convenience init(certificateFile: String, keyFile: String) throws {
        try self.init(
            chain: try NIOSSLCertificate.fromPEMFile(certificateFile),
            key: try NIOSSLPrivateKey(file: keyFile, format: .pem)
        )
    }

    /// Reads a certificate chain and a private key from PEM text. The minimum TLS version is 1.2.
    ///
    /// - Parameters:
    ///   - certificates: The certificate chain, with the certificate of the server first.
    ///   - key: The private key of the server's certificate.
    package convenience init(certificates: [String], key: String) throws {
        try self.init(
            chain: try certificates.map { try NIOSSLCertificate(bytes: Array($0.utf8), format: .pem) },
            key: try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem)
        )
    }

    private init(chain: [NIOSSLCertificate], key: NIOSSLPrivateKey) throws {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = .tlsv12
        self.context = NIOLockedValueBox(try NIOSSLContext(configuration: configuration))
    }

    /// Uses the certificate and key of `other` for new connections. Open connections are not affected.
    package func replace(with other: ServerTLS) {
        let context = other.context.withLockedValue { $0 }
        self.context.withLockedValue { $0 = context }
    }

    package func makeHandler() -> NIOSSLServerHandler {
        NIOSSLServerHandler(context: self.context.withLockedValue { $0 })
    }
}
