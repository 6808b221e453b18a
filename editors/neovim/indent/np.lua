if vim.b.did_indent then
  return
end
vim.b.did_indent = 1

vim.bo.indentexpr = "v:lua.require'npc.indent'.at(v:lnum)"
vim.bo.indentkeys = '0},0=in,0=on,0=except,0=->,!^F,o,O'
vim.b.undo_indent = 'setlocal indentexpr< indentkeys<'
