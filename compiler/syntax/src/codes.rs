//! The codes of what the parser finds.

npc_diagnostics::codes! {
    /// # This is not how the sentence goes on
    ///
    /// The parser expected something else at this place. Every statement of the language starts
    /// with a keyword and needs no terminator; line breaks have no meaning.
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

    /// # A character that has no meaning
    ///
    /// Programs are made of words, strings in quotes and the marks `{ } ( ) , = == != ! ->`.
    /// Statements need no semicolon. Names are DNS labels: letters, digits, `-` and `.`.
    ///
    /// ```np fails
    /// let dns = udp/53, tcp/53;
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    ///
    /// Without the semicolon:
    ///
    /// ```np
    /// let dns = udp/53, tcp/53
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    BAD_CHARACTER = "NP0102" "bad-character" Error;

    /// # A string without its closing quote
    ///
    /// A string ends in the line in which it begins. A quote inside it is written `\"`, a backslash
    /// `\\`.
    ///
    /// ```np fails
    /// policy p for pods { "app } in all namespaces { isolate ingress }
    /// ```
    ///
    /// Closed:
    ///
    /// ```np
    /// policy p for pods { "app" } in all namespaces { isolate ingress }
    /// ```
    UNTERMINATED_STRING = "NP0103" "unterminated-string" Error;

    /// # A brace that is never closed
    ///
    /// The block goes on to the end of the file, or to where the next item begins.
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
    /// Closed:
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

    /// # Nested too deeply
    ///
    /// Parentheses and braces may stand in one another 64 deep. No program that a person can read
    /// comes near that; the limit bounds what hostile input can cost.
    NESTED_TOO_DEEPLY = "NP0105" "nested-too-deeply" Error;

    /// # A keyword that is not spelt right
    ///
    /// Items begin with `import`, `let`, `policy`, `kyverno`, `test` or `assert`; a policy may have
    /// `audit`, `admin` or `baseline` before it.
    ///
    /// ```np fails
    /// polcy p for all pods in all namespaces { isolate ingress }
    /// ```
    ///
    /// Repaired, as `npc check --fix` does it:
    ///
    /// ```np
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    MISSPELT_KEYWORD = "NP0106" "misspelt-keyword" Error;

    /// # Ingress comes from, egress goes to
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop {
    ///   allow ingress to pods { app = web }
    /// }
    /// ```
    ///
    /// `allow ingress from …` names who may reach the policy's pods, `allow egress to …` whom they
    /// may reach:
    ///
    /// ```np
    /// policy p for all pods in namespace shop {
    ///   allow ingress from pods { app = web }
    /// }
    /// ```
    WRONG_PREPOSITION = "NP0107" "wrong-preposition" Error;

    /// # Documentation that documents nothing
    ///
    /// A comment of three slashes documents the item below it: a policy, a set, a test. Inside a
    /// policy, or at the end of a file, it documents nothing and becomes part of no output. Write
    /// `//` for a note to the reader.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces {
    ///   /// The web servers.
    ///   isolate ingress
    /// }
    /// ```
    ///
    /// As a note:
    ///
    /// ```np
    /// policy p for all pods in all namespaces {
    ///   // The web servers.
    ///   isolate ingress
    /// }
    /// ```
    MISPLACED_DOC = "NP0108" "misplaced-doc" Warning;

    /// # An item inside another
    ///
    /// `let`, `import`, `policy`, `test` and `assert` stand by themselves in a file, not inside the
    /// braces of a policy or a test. A set is known in the whole program, wherever its `let` stands.
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

    /// # Too many mistakes in one file
    ///
    /// The parser stops telling after 1,000 findings in one file: most likely the file is no
    /// program at all.
    TOO_MANY = "NP0109" "too-many" Error;
}
