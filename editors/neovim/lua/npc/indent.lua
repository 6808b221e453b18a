--- Where lines begin, in the style of `npc fmt`: what is typed stands where formatting will leave it.

local M = {}

--- The code of a line: without its comment, and with nothing in its strings.
local function code(number)
  local text = vim.fn.getline(number)
  text = text:gsub('\\.', '__'):gsub('"[^"]*"?', function(string)
    return '"' .. string.rep('_', #string - 2) .. '"'
  end)
  return (text:gsub('//.*', ''):gsub('%s+$', ''))
end

--- The last line before one that has code; 0 where there is none.
local function before(number)
  repeat
    number = number - 1
  until number <= 0 or code(number) ~= ''
  return math.max(number, 0)
end

--- The line of the brace that a line is in; 0 where it is in none.
local function opener(number)
  local closed = 0
  number = before(number)
  while number > 0 do
    for brace in code(number):reverse():gmatch('[{}]') do
      if brace == '}' then
        closed = closed + 1
      elseif closed == 0 then
        return number
      else
        closed = closed - 1
      end
    end
    number = before(number)
  end
  return 0
end

--- Whether a line goes on with what the one above it began.
local function continues(number)
  local above = before(number)
  if above == 0 or opener(number) == above then
    return false
  end
  local text = code(number)
  return code(above):find('[,=]$') ~= nil
    or code(above):find('%->$') ~= nil
    or text:find('^%s*%->') ~= nil
    or vim.tbl_contains({ 'in', 'on', 'except' }, text:match('^%s*(%S+)'))
end

--- The first line of what a line is of.
local function head(number)
  while continues(number) do
    number = before(number)
  end
  return number
end

--- Where a line begins that goes on.
local function continued(number)
  local first = head(number)
  local text = code(first)
  local word = code(number):match('^%s*(%S+)')
  local direction, peer = text:match('^%s*%l+%s+[ei]n?gress%s+()%l+%s+()')
  if direction then
    if word == 'on' then
      return direction - 1
    end
    return peer - 1 + ((word == 'in' or word == 'except') and 2 or 0)
  end
  local is_policy = text:find('^%s*policy%s') or text:find('^%s*%l+%s+policy%s')
    or text:find('^%s*%l+%s+%l+%s+policy%s')
  return vim.fn.indent(first) + (is_policy and 4 or 2)
end

--- The columns before a line.
function M.at(number)
  local outer = opener(number)
  if vim.fn.getline(number):find('^%s*}') then
    return vim.fn.indent(head(outer))
  elseif continues(number) then
    return continued(number)
  end
  return outer == 0 and 0 or vim.fn.indent(head(outer)) + 2
end

return M
