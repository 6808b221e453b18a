(policy) @class.outer
(policy body: (policy_body) @class.inner)

(test) @function.outer
(test body: (test_body) @function.inner)

(rule) @statement.outer
(isolate) @statement.outer
(expectation) @statement.outer

(requirement) @parameter.outer
(requirement) @parameter.inner

[(comment) (doc_comment) (file_comment)] @comment.outer
