[
  (policy_body)
  (test_body)
  (settings)
  (selector)
] @indent

"}" @outdent
