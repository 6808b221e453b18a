//! The codes of the parser's diagnostics.

npc_diagnostics::codes! {
    /// # Unexpected token
    ///
    /// The parser expected another token here. Every statement starts with a keyword and needs no
    /// terminator; line breaks have no meaning.
    ///
    /// ```np fails
    /// policy db for all pods in namespace payments {
    ///   allow ingress pods { app = web }
    /// }
    /// ```
    ///
    /// Here `from` is missing between the direction and the peers:
    ///
    /// ```np
    /// policy db for all pods in namespace payments {
    ///   allow ingress from pods { app = web }
    /// }
    /// ```
    SYNTAX = "NP0101" "syntax" Error;

    /// # Invalid character
    ///
    /// A program consists of words, quoted strings and the marks `{ } ( ) , = == != ! ->`.
    /// Statements need no semicolon. Names consist of lower-case letters, digits, `-` and `.`.
    ///
    /// ```np fails
    /// let dns = udp/53, tcp/53;
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    ///
    /// Without the semicolon, the program is valid:
    ///
    /// ```np
    /// let dns = udp/53, tcp/53
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    BAD_CHARACTER = "NP0102" "bad-character" Error;

    /// # Unterminated string
    ///
    /// A string must end on the line where it begins. Inside a string, write `\"` for a quote and
    /// `\\` for a backslash.
    ///
    /// ```np fails
    /// policy p for pods { "app } in all namespaces { isolate ingress }
    /// ```
    ///
    /// With the closing quote:
    ///
    /// ```np
    /// policy p for pods { "app" } in all namespaces { isolate ingress }
    /// ```
    UNTERMINATED_STRING = "NP0103" "unterminated-string" Error;

    /// # Unclosed brace
    ///
    /// The block extends to the end of the file, or to the start of the next item.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces {
    ///   isolate ingress
    ///
    /// policy q for all pods in all namespaces {
    ///   isolate egress
    /// }
    /// ```
    ///
    /// With the closing brace:
    ///
    /// ```np
    /// policy p for all pods in all namespaces {
    ///   isolate ingress
    /// }
    ///
    /// policy q for all pods in all namespaces {
    ///   isolate egress
    ///   // This policy and the one above are a union.
    /// }
    /// ```
    UNCLOSED = "NP0104" "unclosed" Error;

    /// # Nesting too deep
    ///
    /// Parentheses and braces can be nested 64 levels deep. No readable program comes near this
    /// limit; it bounds the cost of hostile input.
    NESTED_TOO_DEEPLY = "NP0105" "nested-too-deeply" Error;

    /// # Misspelt keyword
    ///
    /// Items begin with `import`, `let`, `policy`, `kyverno`, `test` or `assert`; `audit`, `admin`
    /// or `baseline` can precede `policy`.
    ///
    /// ```np fails
    /// polcy p for all pods in all namespaces { isolate ingress }
    /// ```
    ///
    /// The fix, which `npc check --fix` applies:
    ///
    /// ```np
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    MISSPELT_KEYWORD = "NP0106" "misspelt-keyword" Error;

    /// # Wrong preposition after `ingress` or `egress`
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop {
    ///   allow ingress to pods { app = web }
    /// }
    /// ```
    ///
    /// `allow ingress from …` lists the peers that may connect to the selected pods. `allow egress
    /// to …` lists the peers that the selected pods may connect to:
    ///
    /// ```np
    /// policy p for all pods in namespace shop {
    ///   allow ingress from pods { app = web }
    /// }
    /// ```
    WRONG_PREPOSITION = "NP0107" "wrong-preposition" Error;

    /// # Misplaced documentation comment
    ///
    /// A comment with three slashes documents the item below it: a policy, a set or a test. Inside
    /// a policy or at the end of a file it documents nothing, and no output contains it. Write `//`
    /// for a plain comment.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces {
    ///   /// The web servers.
    ///   isolate ingress
    /// }
    /// ```
    ///
    /// As a plain comment:
    ///
    /// ```np
    /// policy p for all pods in all namespaces {
    ///   // The web servers.
    ///   isolate ingress
    /// }
    /// ```
    MISPLACED_DOC = "NP0108" "misplaced-doc" Warning;

    /// # Item inside another item
    ///
    /// `let`, `import`, `policy`, `test` and `assert` belong at the top level of a file, not inside
    /// the braces of a policy or test. A set is visible in the whole program, wherever its `let`
    /// is.
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop {
    ///   let web = tcp/80, tcp/443
    ///   allow ingress from all pods on web
    /// }
    /// ```
    ///
    /// ```np
    /// let web = tcp/80, tcp/443
    ///
    /// policy p for all pods in namespace shop {
    ///   allow ingress from all pods on web
    /// }
    /// ```
    MISPLACED_ITEM = "NP0110" "misplaced-item" Error;

    /// # Too many syntax errors
    ///
    /// The parser reports at most 1,000 diagnostics per file. A file with more errors is most
    /// likely not a program.
    TOO_MANY = "NP0109" "too-many" Error;
}
