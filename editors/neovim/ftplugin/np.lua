if vim.b.did_ftplugin then
  return
end
vim.b.did_ftplugin = 1

local option = vim.opt_local
option.commentstring = '// %s'
option.comments = ':///,://!,://'
option.expandtab = true
option.shiftwidth = 2
option.softtabstop = 2
-- `kube-dns` and `10.0.0.1` are one word each.
option.iskeyword:append({ '-', '.' })

-- Without the parser, or in a Neovim that does not take it, syntax/np.vim stays.
local highlighted = vim.treesitter.start ~= nil and pcall(vim.treesitter.start, 0, 'np')

local command = vim.api.nvim_buf_create_user_command
command(0, 'NpcYaml', function(call)
  require('npc').yaml(0, call.fargs[1])
end, {
  nargs = '?',
  complete = function()
    return require('npc').targets
  end,
  desc = 'What the program becomes, beside it',
})
command(0, 'NpcReach', function()
  require('npc').reach(0)
end, { desc = 'Who reaches whom in the cluster, as a page' })
command(0, 'NpcPods', function(call)
  require('npc').pods(0, call.args)
end, { nargs = 1, desc = 'The pods that a policy selects' })
command(0, 'NpcTest', function()
  require('npc').test(0)
end, { desc = "Runs the program's tests and assertions" })

vim.b.undo_ftplugin = 'setlocal commentstring< comments< expandtab< shiftwidth< softtabstop< iskeyword<'
  .. '| delcommand -buffer NpcYaml | delcommand -buffer NpcReach'
  .. '| delcommand -buffer NpcPods | delcommand -buffer NpcTest'
  .. (highlighted and '| lua vim.treesitter.stop()' or '')
