((comment) @injection.content
  (#set! injection.language "comment"))

; Documentation comments are shown as Markdown.
((doc_comment) @injection.content
  (#set! injection.language "markdown_inline"))
