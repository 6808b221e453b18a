(let "let" @context name: (name) @name) @item

(policy
  "audit"? @context
  tier: _? @context
  "policy" @context
  name: (name) @name) @item

(test "test" @context name: (string) @name) @item

(assert "assert" @name) @item

(settings "kyverno" @name) @item
