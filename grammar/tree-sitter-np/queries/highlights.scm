; A general capture first, then more specific ones: the last match wins.

(word) @variable

(comment) @comment
[(doc_comment) (file_comment)] @comment.documentation

(string) @string
(escape) @string.escape

["import" "let" "policy" "audit" "admin" "baseline" "test" "assert" "kyverno"] @keyword
["for" "priority" "in" "except" "on" "log" "from" "to" "at" "ports" "cluster" "pod"] @keyword
["all" "pods" "namespace" "namespaces" "same" "sharing" "anywhere"] @keyword
["ingress" "egress"] @keyword
["allow" "deny" "pass" "isolate"] @keyword.control
["notin"] @keyword.operator

["=" "==" "!=" "!" "->"] @operator
["{" "}" "(" ")"] @punctuation.bracket
"," @punctuation.delimiter

(let name: (name (word) @type))
(policy name: (name (word) @function))
(policy priority: (word) @number)
(scope namespace: (name (word) @module))
(namespace name: (name (word) @module))
(pod namespace: (name (word) @module))
(glob (word) @module)
(key (word) @property)
(value (word) @string.special)
(setting key: (key) @property)
((value (word) @boolean) (#any-of? @boolean "true" "false"))
(setting value: (value (word) @boolean) (#any-of? @boolean "true" "false"))

((set (word) @constant) (#match? @constant "^[0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*(/[0-9]+)?$"))
((set (word) @constant) (#match? @constant "^(tcp|udp|sctp)(/.*)?$"))
(end (word) @variable)
