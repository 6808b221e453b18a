((comment) @injection.content
  (#set! injection.language "comment"))

; What documents an item becomes its description, in Markdown where it is shown.
((doc_comment) @injection.content
  (#set! injection.language "markdown_inline"))
