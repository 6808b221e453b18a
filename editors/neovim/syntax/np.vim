" The highlighting without tree-sitter. It knows words and not places: a keyword that is a name in its place
" is shown as a keyword.
if exists('b:current_syntax')
  finish
endif

" What words are made of, as the grammar says.
syntax iskeyword @,48-57,_,-,.,/,:,*,?

syntax keyword npItem import audit admin baseline test assert kyverno
syntax keyword npItem let nextgroup=npSet skipwhite
syntax keyword npItem policy nextgroup=npPolicy skipwhite
syntax keyword npWord for priority in except on log from to at ports cluster pod
syntax keyword npWord all pods namespace namespaces same sharing anywhere ingress egress
syntax keyword npAction allow deny pass isolate
syntax keyword npOperator notin
syntax keyword npBoolean true false

syntax match npSet /\k\+/ contained
syntax match npPolicy /\k\+/ contained
syntax match npAddress /\<\x*[.:][0-9A-Fa-f:.]*\%(\/\d\+\)\?\>/
syntax match npPort /\<\%(tcp\|udp\|sctp\)\%(\/\k\+\)\?\>/
syntax match npOperator /->\|[!=]=\|[!=]/

syntax region npString start=/"/ skip=/\\./ end=/"/ end=/$/ contains=npEscape
syntax match npEscape /\\./ contained

syntax match npComment /\/\/.*$/ contains=npTodo,@Spell
syntax match npDocumentation /\/\/!.*$/ contains=npTodo,@Spell
syntax match npDocumentation /\/\/\/\%(\/\)\@!.*$/ contains=npTodo,@Spell
syntax keyword npTodo TODO FIXME NOTE contained

highlight default link npItem Statement
highlight default link npWord Keyword
highlight default link npAction Conditional
highlight default link npOperator Operator
highlight default link npBoolean Boolean
highlight default link npSet Type
highlight default link npPolicy Function
highlight default link npAddress Constant
highlight default link npPort Constant
highlight default link npString String
highlight default link npEscape SpecialChar
highlight default link npComment Comment
highlight default link npDocumentation SpecialComment
highlight default link npTodo Todo

let b:current_syntax = 'np'
