(string) @string

[(comment) (doc_comment) (file_comment)] @comment
