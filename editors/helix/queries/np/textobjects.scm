(policy body: (policy_body) @class.inside) @class.around

(test body: (test_body) @test.inside) @test.around

(selector (requirement) @parameter.inside @parameter.around)

(settings (setting value: (value) @entry.inside) @entry.around)

[(comment) (doc_comment) (file_comment)] @comment.inside
[(comment) (doc_comment) (file_comment)]+ @comment.around
