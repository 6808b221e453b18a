[
  (policy_body)
  (test_body)
  (settings)
  (selector)
] @indent.begin

(let) @indent.begin

"}" @indent.branch @indent.end

(comment) @indent.ignore
