(policy body: (policy_body "{" (_)* @class.inside "}")) @class.around

(test body: (test_body "{" (_)* @function.inside "}")) @function.around

[(comment) (doc_comment) (file_comment)]+ @comment.around
