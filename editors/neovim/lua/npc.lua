--- The client's part of `npc lsp`: how the server is started, and what its own requests show.

local M = {}

local is_new = vim.lsp.enable ~= nil

--- What `npc compile` can write.
M.targets = { 'kyverno', 'kyverno-cel', 'networkpolicy', 'clusternetworkpolicy' }

local function say(text, level)
  vim.notify('npc: ' .. text, level or vim.log.levels.INFO)
end

--- The server's client of a buffer.
local function client_of(buffer)
  local known = (vim.lsp.get_clients or vim.lsp.get_active_clients)()
  for _, client in ipairs(known) do
    if client.name == 'npc' and vim.lsp.buf_is_attached(buffer, client.id) then
      return client
    end
  end
end

--- Asks the server one of its own requests about a buffer. What it cannot answer it says.
local function ask(buffer, method, parameters, answered)
  if buffer == 0 then
    buffer = vim.api.nvim_get_current_buf()
  end
  local client = client_of(buffer)
  if not client then
    return say('the language server does not run for this buffer', vim.log.levels.ERROR)
  end
  parameters.textDocument = { uri = vim.uri_from_bufnr(buffer) }
  local function handler(failed, result)
    if failed then
      return say(failed.message, vim.log.levels.ERROR)
    elseif result.why then
      return say(result.why, vim.log.levels.WARN)
    end
    answered(result, client)
  end
  if is_new then
    client:request(method, parameters, handler, buffer)
  else
    client.request(method, parameters, handler, buffer)
  end
end

--- Shows a text beside the program, in a buffer of its own.
local function show(text, type)
  vim.cmd('vertical new')
  local option = vim.opt_local
  option.buftype = 'nofile'
  option.bufhidden = 'wipe'
  option.swapfile = false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split(text:gsub('\n$', ''), '\n'))
  option.filetype = type
  option.modifiable = false
end

--- Shows what the program becomes, and there a policy, where one is given.
function M.yaml(buffer, target, policy)
  ask(buffer, 'npc/yaml', { target = target or 'kyverno', policy = policy }, function(result)
    show(result.text, 'yaml')
    -- An absent number is one of JSON's, which is no number of Lua's.
    if type(result.line) == 'number' then
      vim.api.nvim_win_set_cursor(0, { result.line + 1, 0 })
    end
  end)
end

--- Shows the pods that a policy selects.
function M.pods(buffer, policy)
  ask(buffer, 'npc/pods', { policy = policy }, function(result)
    show(table.concat(result.pods, '\n'), 'text')
  end)
end

--- Opens the page of who reaches whom.
function M.reach(buffer)
  ask(buffer, 'npc/reach', {}, function(result)
    local page = vim.fn.tempname() .. '.html'
    vim.fn.writefile(vim.split(result.html, '\n'), page)
    if vim.ui.open then
      vim.ui.open(page)
    end
    say('the page is ' .. page)
  end)
end

--- Runs tests: those given, or all of the program. What fails is in the quickfix list.
function M.test(buffer, ids)
  ask(buffer, 'npc/runTests', { ids = ids }, function(result, client)
    local places, failed = {}, 0
    for _, test in ipairs(result.results) do
      failed = failed + (test.passed and 0 or 1)
      for _, failure in ipairs(test.failures) do
        local items = vim.lsp.util.locations_to_items({ failure }, client.offset_encoding)
        items[1].text, items[1].type = failure.message, 'E'
        table.insert(places, items[1])
      end
    end
    vim.fn.setqflist({}, ' ', { title = 'npc test', items = places })
    if failed > 0 then
      vim.cmd('copen')
      say(('%d of %d tests failed'):format(failed, #result.results), vim.log.levels.ERROR)
    else
      say(('%d tests pass'):format(#result.results))
    end
  end)
end

--- The commands of code lenses, whose arguments begin with the file.
local commands = {
  ['npc.runTest'] = function(command, context)
    M.test(context.bufnr, { command.arguments[2] })
  end,
  ['npc.showYaml'] = function(command, context)
    M.yaml(context.bufnr, nil, command.arguments[2])
  end,
  ['npc.showPods'] = function(command, context)
    M.pods(context.bufnr, command.arguments[2])
  end,
}

--- How the server is started.
M.config = {
  cmd = { 'npc', 'lsp' },
  filetypes = { 'np' },
  root_markers = { '.git' },
  init_options = { commands = vim.tbl_keys(commands) },
  commands = commands,
}

--- The folder of a file's repository, or else its own.
local function root_of(file)
  local own = vim.fn.fnamemodify(file, ':p:h')
  local folder = own
  repeat
    -- In a worktree it is a file.
    if vim.loop.fs_stat(folder .. '/.git') then
      return folder
    end
    local above = vim.fn.fnamemodify(folder, ':h')
    local is_top = above == folder
    folder = above
  until is_top
  return own
end

--- Starts the server for every program that is opened from now on. `options` are those of
--- `vim.lsp.config`, such as `{ init_options = { cluster = 'cluster.yaml' } }`.
function M.setup(options)
  if is_new then
    vim.lsp.config('npc', options or {})
    vim.lsp.enable('npc')
    return
  end
  -- Before Neovim 0.11 the client is started by hand.
  local config = vim.tbl_deep_extend('force', M.config, options or {})
  local started = {}
  local function attach(buffer)
    local root = root_of(vim.api.nvim_buf_get_name(buffer))
    local own = vim.tbl_extend('force', config, {
      name = 'npc',
      root_dir = root,
      workspace_folders = { { uri = vim.uri_from_fname(root), name = root } },
      on_exit = function()
        started[root] = nil
      end,
      on_attach = function(client, attached)
        vim.bo[attached].omnifunc = 'v:lua.vim.lsp.omnifunc'
        vim.bo[attached].tagfunc = 'v:lua.vim.lsp.tagfunc'
        vim.bo[attached].formatexpr = 'v:lua.vim.lsp.formatexpr()'
        if config.on_attach then
          config.on_attach(client, attached)
        end
      end,
    })
    started[root] = started[root] or vim.lsp.start_client(own)
    if started[root] then
      vim.lsp.buf_attach_client(buffer, started[root])
    end
  end
  vim.api.nvim_create_autocmd('FileType', {
    pattern = 'np',
    group = vim.api.nvim_create_augroup('npc', {}),
    callback = function(event)
      attach(event.buf)
    end,
  })
end

return M
