; Helix has names of its own for what is shown. In some of its versions the first that fits counts, in others the
; last: here nothing is named twice.

(comment) @comment.line
[(doc_comment) (file_comment)] @comment.block.documentation

(string) @string
(escape) @constant.character.escape

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
(policy priority: (word) @constant.numeric)
(scope namespace: (name (word) @namespace))
(namespace name: (name (word) @namespace))
(pod namespace: (name (word) @namespace))
(pod name: (name (word) @variable))
(port name: (name (word) @variable.other.member))
(glob (word) @namespace)
(requirement (key (word) @variable.other.member))
(scope (key (word) @variable.other.member))
(setting key: (key) @variable.other.member)
(requirement (value (word) @string.special))
((setting value: (value (word) @constant.builtin.boolean))
  (#match? @constant.builtin.boolean "^(true|false)$"))
((setting value: (value (word) @string.special))
  (#not-match? @string.special "^(true|false)$"))

; Addresses and ports; and what else a set may be.
((set (word) @constant)
  (#match? @constant "^([0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*(/[0-9]+)?|(tcp|udp|sctp)(/.*)?)$"))
((set (word) @variable)
  (#not-match? @variable "^([0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*(/[0-9]+)?|(tcp|udp|sctp)(/.*)?)$"))
(end (word) @variable)
