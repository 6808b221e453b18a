--- What a user of Neovim does with a program, done to a real Neovim; `run` starts it.

local harness = require('harness')
local check, same, wait = harness.check, harness.same, harness.wait
local project, checkout = vim.env.PROJECT, vim.env.CHECKOUT
local is_new = vim.lsp.enable ~= nil

--- Opens a file of the project, and gives its buffer and its client.
local function open(name)
  vim.cmd('edit ' .. project .. '/' .. name)
  local buffer = vim.api.nvim_get_current_buf()
  return buffer, wait('a client', function()
    for _, client in ipairs((vim.lsp.get_clients or vim.lsp.get_active_clients)()) do
      if client.initialized and vim.lsp.buf_is_attached(buffer, client.id) then
        return client
      end
    end
  end)
end

local function lines(buffer)
  return vim.api.nvim_buf_get_lines(buffer or 0, 0, -1, false)
end

local function text(buffer)
  return table.concat(lines(buffer), '\n')
end

--- Puts the cursor at the beginning of a word of the file: behind `ahead`, where it matters which.
local function at(word, ahead)
  local whole = text()
  local from = ahead and select(2, assert(whole:find(ahead, 1, true), ahead)) or 0
  local place = assert(whole:find(word, from + 1, true), word)
  local above = whole:sub(1, place - 1)
  local _, row = above:gsub('\n', '')
  vim.api.nvim_win_set_cursor(0, { row + 1, #above:match('[^\n]*$') })
end

--- What the server answers to a request at the cursor, asked through the client.
local function ask(method, more)
  local client = (vim.lsp.get_clients or vim.lsp.get_active_clients)()[1]
  local parameters = vim.lsp.util.make_position_params(0, client.offset_encoding)
  parameters = vim.tbl_extend('force', parameters, more or {})
  local answers = assert(vim.lsp.buf_request_sync(0, method, parameters, 10000), 'no answer')
  local _, answer = next(answers)
  assert(answer, 'no server offers ' .. method)
  assert(not (answer.error or answer.err), vim.inspect(answer))
  return answer.result
end

local shop, client = open('shop/policies.np')

check('the file is one of np', function()
  same(vim.bo.filetype, 'np')
  same(vim.bo.commentstring, '// %s')
  same(vim.bo.shiftwidth, 2)
end)

check('the server is started for the repository', function()
  same(client.name, 'npc')
  same(client.config.root_dir, project)
end)

check('diagnostics', function()
  local found = wait('a warning', function()
    local found = vim.diagnostic.get(shop)
    return #found > 0 and found
  end)
  same(#found, 1)
  same(found[1].code, 'NP0805')
  same(found[1].lnum, 13)
  same(found[1].severity, vim.diagnostic.severity.WARN)
end)

check('highlighting, by tree-sitter where this Neovim takes the parser', function()
  local is_taken = vim.treesitter.start ~= nil
    and (vim.treesitter.language_version or 15) >= 15
  same(vim.treesitter.highlighter.active[shop] ~= nil, is_taken)
  if is_taken then
    -- Without a window nothing is drawn, which is what would parse it.
    vim.treesitter.get_parser(shop):parse(true)
    at('metadata on')
    local row, column = unpack(vim.api.nvim_win_get_cursor(0))
    local captures = vim.treesitter.get_captures_at_pos(0, row - 1, column)
    same(captures[#captures].capture, 'variable')
  else
    same(vim.bo.syntax, 'np')
  end
end)

--- The group of each word of a text, as syntax/np.vim shows it.
local function groups(program)
  vim.cmd('enew')
  vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split(program, '\n'))
  vim.cmd('set syntax=np')
  return function(word)
    at(word)
    local row, column = unpack(vim.api.nvim_win_get_cursor(0))
    return vim.fn.synIDattr(vim.fn.synID(row, column + 1, 1), 'name')
  end
end

check('highlighting without tree-sitter', function()
  local group = groups(table.concat({
    '//! File', '/// Item', '// Plain', 'let kube-dns = pods { env = "a \\" b" } in namespace x',
    'policy shop for all pods in all namespaces {', '  allow egress to kube-dns on tcp/53 // "no string',
    '  deny egress to 10.0.0.0/8', '}', 'assert deny web -> db-allow',
  }, '\n'))
  local expected = {
    ['//! File'] = 'npDocumentation', ['/// Item'] = 'npDocumentation', ['// Plain'] = 'npComment',
    ['let '] = 'npItem', ['kube-dns ='] = 'npSet', ['"a'] = 'npString', ['\\"'] = 'npEscape', ['b" }'] = 'npString',
    ['policy'] = 'npItem', ['shop'] = 'npPolicy', ['for'] = 'npWord', ['allow egress'] = 'npAction',
    ['tcp/53'] = 'npPort', ['"no string'] = 'npComment', ['10.0.0.0/8'] = 'npAddress', ['->'] = 'npOperator',
    ['db-allow'] = '',
  }
  for word, name in pairs(expected) do
    same(group(word), name, word)
  end
end)

check('highlighting knows every keyword of the grammar', function()
  local words = {}
  for line in io.lines(checkout .. '/grammar/np.ebnf') do
    local rule = line:gsub('%(%*.*', ''):gsub("'.-'", '')
    for word in rule:gmatch('"(%l+)"') do
      words[word] = true
    end
  end
  words = vim.tbl_keys(words)
  assert(#words >= 35, #words .. ' keywords')
  local group = groups(table.concat(words, '\n'))
  for row, word in ipairs(words) do
    same(vim.fn.synIDattr(vim.fn.synID(row, 1, 1), 'name'):match('^np') ~= nil, true, word)
  end
end)

check('indentation: every example stands as it is formatted', function()
  local files = vim.fn.glob(checkout .. '/examples/**/*.np', false, true)
  table.insert(files, checkout .. '/tests/editors/neovim/project/indented/indented.np')
  assert(#files > 5, #files .. ' examples')
  for _, file in ipairs(files) do
    vim.cmd('enew')
    vim.bo.filetype = 'np'
    vim.cmd('silent read ' .. file .. ' | 1delete')
    local expected = text()
    vim.cmd('silent %left')
    vim.cmd('silent normal! gg=G')
    same(text(), expected, file)
  end
end)

check('a repair is applied', function()
  local buffer = open('mistakes/ports.np')
  wait('an error', function()
    return #vim.diagnostic.get(buffer, { severity = vim.diagnostic.severity.ERROR }) > 0
  end)
  at('tcp:80')
  -- Neovim lists what is offered by `vim.ui.select`; the first is taken here.
  local select = vim.ui.select
  vim.ui.select = function(items, _, chosen)
    chosen(items[1], 1)
  end
  vim.lsp.buf.code_action()
  wait('the edit', function()
    return text():find('tcp/80', 1, true)
  end)
  vim.ui.select = select
  wait('no error', function()
    return #vim.diagnostic.get(buffer, { severity = vim.diagnostic.severity.ERROR }) == 0
  end)
end)

check('formatting', function()
  if vim.lsp.buf.format then
    vim.lsp.buf.format()
  else
    vim.lsp.buf.formatting_sync()
  end
  same(lines()[2], '  allow ingress from anywhere on tcp/80')
end)

--- From here on, each check works on the project as it was.
local function fresh()
  vim.cmd('silent! only')
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_get_name(buffer) == '' then
      vim.api.nvim_buf_delete(buffer, { force = true })
    elseif vim.bo[buffer].modified then
      vim.api.nvim_buf_call(buffer, function()
        vim.cmd('silent edit!')
      end)
    end
  end
  open('shop/policies.np')
end

check('symbols', function()
  fresh()
  vim.lsp.buf.document_symbol()
  local list = wait('the list', function()
    local list = vim.fn.getloclist(0)
    if #list == 0 then
      list = vim.fn.getqflist()
    end
    return #list > 0 and list
  end)
  local found = table.concat(vim.tbl_map(function(item)
    return item.text
  end, list), '\n')
  for _, name in ipairs({ 'sets.np', 'shop', 'no-metadata', 'the shop finds its names' }) do
    assert(found:find(name, 1, true), name .. ' is not in ' .. found)
  end
  vim.cmd('silent! lclose | silent! cclose')
end)

check('completion', function()
  fresh()
  same(vim.bo.omnifunc, 'v:lua.vim.lsp.omnifunc')
  vim.api.nvim_buf_set_lines(0, -1, -1, false, {
    'policy typed for all pods in namespace shop {', '  allow egress to kube-', '}',
  })
  local row = vim.api.nvim_buf_line_count(0) - 1
  vim.api.nvim_win_set_cursor(0, { row, 0 })
  -- Typed as a user does; what is offered is there only as long as the insertion lasts.
  local offered
  harness.offered = function()
    offered = wait('what is offered', function()
      local items = vim.fn.complete_info({ 'items' }).items
      return #items > 0 and items
    end)
  end
  local typed = "A<C-X><C-O><Cmd>lua require('harness').offered()<CR><Esc>"
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(typed, true, false, true), 'x', false)
  local words = vim.tbl_map(function(item)
    return item.word
  end, offered)
  assert(vim.tbl_contains(words, 'kube-dns'), vim.inspect(words))
end)

check('hover', function()
  fresh()
  at('kube-dns on')
  local answer = assert(ask('textDocument/hover'), 'nothing')
  local shown = table.concat(vim.lsp.util.convert_input_to_markdown_lines(answer.contents), '\n')
  assert(shown:find('k8s-app', 1, true), shown)
  vim.lsp.buf.hover()
  wait('a window', function()
    return #vim.api.nvim_list_wins() > 1
  end)
  vim.cmd('silent! only')
end)

check('definition', function()
  fresh()
  at('metadata on')
  vim.lsp.buf.definition()
  wait('the other file', function()
    return vim.fn.expand('%:t') == 'sets.np'
  end)
  same(vim.api.nvim_win_get_cursor(0), { 5, 4 })
end)

check('references', function()
  fresh()
  at('metadata on')
  local found = ask('textDocument/references', { context = { includeDeclaration = true } })
  local places = vim.tbl_map(function(item)
    return vim.fn.fnamemodify(vim.uri_to_fname(item.uri), ':t') .. ':' .. item.range.start.line + 1
  end, found or {})
  table.sort(places)
  same(places, { 'policies.np:14', 'policies.np:17', 'policies.np:26', 'sets.np:5' })
end)

check('highlights of a name', function()
  fresh()
  at('metadata on')
  same(#(ask('textDocument/documentHighlight') or {}), 3)
end)

check('a name is changed over two files, in whatever units a line is counted', function()
  fresh()
  at('metadata on')
  vim.lsp.buf.rename('cloud-metadata')
  wait('the edit', function()
    return text(shop):find('cloud-metadata', 1, true)
  end)
  same(lines(shop)[14], '  allow egress to anywhere except cloud-metadata on tcp/80')
  same(lines(shop)[17],
    'test "ü 𝕟" { namespace tools pod probe in tools deny tools/probe -> cloud-metadata }')
  same(lines(shop)[26], '  deny  shop/web -> cloud-metadata')
  same(lines(vim.fn.bufnr(project .. '/shop/sets.np'))[5], 'let cloud-metadata = 169.254.169.254/32')
end)

check('folds', function()
  fresh()
  local found = ask('textDocument/foldingRange') or {}
  assert(#found >= 3, vim.inspect(found))
end)

check('links of imports', function()
  fresh()
  local found = ask('textDocument/documentLink') or {}
  same(#found, 1)
  same(vim.uri_to_fname(found[1].target), project .. '/shop/sets.np')
end)

check('the meaning of words', function()
  fresh()
  if vim.lsp.semantic_tokens then
    vim.lsp.semantic_tokens.start(shop, client.id)
    at('metadata on')
    local row, column = unpack(vim.api.nvim_win_get_cursor(0))
    local tokens = wait('a token', function()
      local tokens = vim.lsp.semantic_tokens.get_at_pos(0, row - 1, column)
      return tokens and tokens[1] and tokens
    end)
    same(tokens[1].type, 'variable')
  else
    assert(#ask('textDocument/semanticTokens/full').data > 0)
  end
end)

check('inlay hints', function()
  fresh()
  -- Of the policy's head, which is line 6.
  local range = { start = { line = 5, character = 0 }, ['end'] = { line = 6, character = 0 } }
  local hints
  if vim.lsp.inlay_hint then
    vim.lsp.inlay_hint.enable(true, { bufnr = shop })
    hints = wait('a hint', function()
      local found = vim.lsp.inlay_hint.get({ bufnr = shop, range = range })
      return found[1] and vim.tbl_map(function(hint)
        return hint.inlay_hint
      end, found)
    end)
  else
    hints = ask('textDocument/inlayHint', { range = range }) or {}
  end
  same(#hints, 1)
  same(hints[1].label, '2 pods')
end)

check('code lenses run tests and show what a policy becomes', function()
  fresh()
  vim.lsp.codelens.refresh(is_new and { bufnr = shop } or nil)
  local lenses = wait('lenses', function()
    local lenses = vim.lsp.codelens.get(shop)
    return #lenses > 0 and lenses
  end)
  local commands = {}
  for _, lens in ipairs(lenses) do
    if lens.command then
      commands[lens.command.command] = commands[lens.command.command] or lens.command
    end
  end
  local said = harness.said(function()
    client.commands['npc.runTest'](assert(commands['npc.runTest'], 'no test to run'), { bufnr = shop })
  end)
  same(said, 'npc: 1 tests pass')
  client.commands['npc.showYaml'](assert(commands['npc.showYaml'], 'no YAML to show'), { bufnr = shop })
  wait('the YAML', function()
    return vim.bo.filetype == 'yaml'
  end)
  assert(text():find('kind: ClusterPolicy', 1, true), text())
  vim.cmd('silent! only | buffer ' .. shop)
  client.commands['npc.showPods'](assert(commands['npc.showPods'], 'no pods to show'), { bufnr = shop })
  wait('the pods', function()
    return text():find('shop/cart', 1, true)
  end)
  vim.cmd('silent! only')
end)

check('the commands of the buffer', function()
  fresh()
  same(harness.said(function()
    vim.cmd('NpcTest')
  end), 'npc: 2 tests pass')
  vim.cmd('NpcYaml networkpolicy')
  wait('the YAML', function()
    return text():find('kind: NetworkPolicy', 1, true)
  end)
  vim.cmd('silent! only | buffer ' .. shop)
  vim.ui.open = nil
  local page = harness.said(function()
    vim.cmd('NpcReach')
  end):match('^npc: the page is (.*)$')
  assert(table.concat(vim.fn.readfile(page), '\n'):find('<html', 1, true), 'no page')
end)

check('a test that fails is in the quickfix list; a program that is none says why it has no YAML', function()
  fresh()
  vim.api.nvim_buf_set_lines(0, 25, 26, false, { '  allow shop/web -> metadata' })
  same(harness.said(function()
    vim.cmd('NpcTest')
  end), 'npc: 1 of 2 tests failed')
  local places = vim.fn.getqflist()
  same(#places, 1)
  same(places[1].bufnr, shop)
  same(places[1].lnum, 26)
  vim.cmd('silent! cclose')
  vim.api.nvim_buf_set_lines(shop, 25, 26, false, { '  allow' })
  assert(harness.said(function()
    vim.cmd('NpcYaml')
  end):find('^npc: '))
  same(vim.api.nvim_get_current_buf(), shop)
  fresh()
end)

harness.finish('neovim ' .. tostring(vim.version and vim.version().major .. '.' .. vim.version().minor))
