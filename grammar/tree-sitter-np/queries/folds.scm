[
  (policy_body)
  (test_body)
  (settings)
  (selector)
  (peers)
] @fold
