//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Generates self-contained HTML pages with a light and a dark color scheme.
package enum HTMLPage {
    /// Maximum number of characters of a text, before it is escaped. The rest is cut off.
    private static let maximumText = 2_000

    /// Escapes text for use in HTML, as element content or in a double-quoted attribute.
    ///
    /// Text longer than 2,000 characters is cut off.
    package static func escaped(_ text: String) -> String {
        // By scalar: a combining character would join with a following "<" to a character that is not "<".
        text.prefix(Self.maximumText).unicodeScalars.map { scalar -> String in
            switch scalar {
            case "<": "&lt;"
            case ">": "&gt;"
            case "&": "&amp;"
            case "\"": "&quot;"
            case "'": "&#39;"
            default: String(scalar)
            }
        }.joined()
    }

    /// Returns a complete HTML document.
    ///
    /// - Parameters:
    ///   - title: Title and heading of the page, as plain text.
    ///   - style: Additional CSS rules.
    ///   - body: HTML of the page below the heading. It is not escaped.
    package static func html(title: String, style: String = "", body: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(Self.escaped(title))</title>
        <style>
          :root { color-scheme: light dark; --ink: #1b1c22; --soft: #5d6070; --paper: #fbfaf7; --line: #dcd9d0; --mark: #6a3fc4; --good: #2f7d4f; --bad: #b3342d }
          @media (prefers-color-scheme: dark) { :root { --ink: #ecebf2; --soft: #a3a5b5; --paper: #16161c; --line: #34343f; --mark: #b497f2; --good: #7fce9c; --bad: #ff8f87 } }
          body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif }
          main { max-width: 44rem; margin: 0 auto; padding: 3rem 1.25rem }
          h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
          p { margin: 0 0 1rem } .soft { color: var(--soft) } ul { margin: 0 0 1.6rem; padding-left: 1.2rem }
          ol { list-style: none; margin: 1.75rem 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .75rem }
          ol li { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem .9rem }
          ol b, ol span, ol i { display: block } ol span, ol i { font-size: .85rem; color: var(--soft) }
          code { font: .85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; background: color-mix(in srgb, var(--line) 45%, transparent); padding: .1rem .3rem; border-radius: .3rem }
          \(style)
        </style>
        <main>
        <h1>\(Self.escaped(title))</h1>
        \(body)
        </main>
        </html>

        """
    }
}
