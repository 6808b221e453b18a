--- Runs checks one after another and counts them.

local M = {}

local passed, failed = 0, 0

--- How long anything is waited for.
local PATIENCE = 10000

function M.wait(what, condition)
  local result
  assert(vim.wait(PATIENCE, function()
    result = condition()
    return result
  end, 20), 'waited in vain for ' .. what)
  return result
end

function M.same(found, expected, of)
  if not vim.deep_equal(found, expected) then
    error(('%sexpected %s, got %s'):format(of and of .. ': ' or '', vim.inspect(expected), vim.inspect(found)), 2)
  end
end

--- What is said to the user while something is done, first of all.
function M.said(action)
  local said
  local notify = vim.notify
  vim.notify = function(text)
    said = said or text
  end
  local is_done, why = pcall(function()
    action()
    M.wait('a word of the editor', function()
      return said
    end)
  end)
  vim.notify = notify
  assert(is_done, why)
  return said
end

function M.check(name, body)
  local is_fine, why = pcall(body)
  if is_fine then
    passed = passed + 1
  else
    failed = failed + 1
    io.stdout:write(('neovim: FAILED: %s\n%s\n'):format(name, why))
  end
end

function M.finish(editor)
  io.stdout:write(('%s: %d checks as expected%s\n'):format(editor, passed, failed > 0 and (', %d failed'):format(failed) or ''))
  vim.cmd(failed > 0 and 'cquit' or 'quitall!')
end

return M
