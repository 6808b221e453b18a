(policy_body "}" @end) @indent
(test_body "}" @end) @indent
(settings "}" @end) @indent
(selector "}" @end) @indent
