--[[
Fuse exposure brackets from darktable's lighttable with smarthdr, and import the results beside the frames.

Install:
  1. pip install smarthdr, so that `smarthdr --version` works in a terminal.
  2. Copy this file to ~/.config/darktable/lua/ (Windows: %LOCALAPPDATA%\darktable\lua\).
  3. Add the line  require "smarthdr"  to ~/.config/darktable/luarc and restart darktable.

Use, in the lighttable, module "selected image[s]":
  - "fuse one bracket": all selected images are one bracket.
  - "fuse brackets": smarthdr sorts the selected images into brackets and fuses each; it leaves alone what it is not
    sure of.

Each result is grouped with its frames and leads the group. Preferences (Lua options): the smarthdr command, the file
format, and further options of `smarthdr fuse`. Shortcuts can be set for both actions.

Tried with darktable 4.2 (Lua API 9.0). Part of smarthdr, MIT licence.
]]

local dt = require "darktable"

local MODULE = "smarthdr"
local MAX_NAMES = 100 -- tried until one is free

dt.preferences.register(MODULE, "command", "string", "smarthdr: command",
  "the smarthdr program, with its path where it is not on the PATH", "smarthdr")
dt.preferences.register(MODULE, "format", "string", "smarthdr: file format",
  "an ending that smarthdr fuse -o writes and darktable reads, such as exr, tif or dng", "exr")
dt.preferences.register(MODULE, "options", "string", "smarthdr: further options",
  "added to the command line, for example --deghost strong --max-memory 4G", "")

local function preference(name, kind)
  return dt.preferences.read(MODULE, name, kind)
end

local function quoted(text)
  if dt.configuration.running_os == "windows" then
    return '"' .. text:gsub('"', "") .. '"'
  end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function separator()
  return dt.configuration.running_os == "windows" and "\\" or "/"
end

local function path_of(image)
  return image.path .. separator() .. image.filename
end

local function stem_of(image)
  return image.filename:match("^(.*)%.[^.]*$") or image.filename
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The last line that is not empty; smarthdr's errors are one line.
local function last_line(path)
  local line = ""
  for text in io.lines(path) do
    if text:match("%S") then line = text end
  end
  return line
end

-- Runs smarthdr with these arguments; returns whether it succeeded, what it printed, and its last message.
-- Exit code 7 means that some sets of a batch failed: the others are there.
local function run(arguments)
  local out, log = os.tmpname(), os.tmpname()
  local command = quoted(preference("command", "string"))
  if preference("command", "string") == "smarthdr" then command = "smarthdr" end
  for _, argument in ipairs(arguments) do
    command = command .. " " .. argument
  end
  command = command .. " >" .. quoted(out) .. " 2>" .. quoted(log)
  dt.print_log(MODULE .. ": " .. command)
  local code = dt.control.execute(command)
  if code > 255 then code = code // 256 end -- some versions return the status of wait(), some the exit code
  local message = last_line(log):gsub("^smarthdr: ", "")
  if code == 127 then
    message = "the command " .. preference("command", "string") .. " was not found; see the Lua options"
  end
  local printed = {}
  for line in io.lines(out) do printed[#printed + 1] = line end
  os.remove(out)
  os.remove(log)
  return code == 0 or code == 7, printed, message
end

-- `text` as JSON writes it in ASCII, for finding paths in smarthdr's output.
local function json_string(text)
  local parts = {}
  for _, code in utf8.codes(text) do
    local char = utf8.char(code)
    if char == '"' or char == "\\" then
      parts[#parts + 1] = "\\" .. char
    elseif code >= 0x10000 then
      local rest = code - 0x10000
      parts[#parts + 1] = string.format("\\u%04x\\u%04x", 0xd800 + rest // 0x400, 0xdc00 + rest % 0x400)
    elseif code < 0x20 or code > 0x7e then
      parts[#parts + 1] = string.format("\\u%04x", code)
    else
      parts[#parts + 1] = char
    end
  end
  return '"' .. table.concat(parts) .. '"'
end

-- The frames of a bracket in the order of their names, without twins of other versions of the same file.
local function frames_of(images)
  local frames, seen = {}, {}
  for _, image in ipairs(images) do
    if not seen[path_of(image)] then
      seen[path_of(image)] = true
      frames[#frames + 1] = image
    end
  end
  table.sort(frames, function(a, b) return path_of(a) < path_of(b) end)
  return frames
end

local function free_path(frames, format)
  local base = frames[1].path .. separator() .. stem_of(frames[1]) .. "-" .. stem_of(frames[#frames])
  for number = 1, MAX_NAMES do
    local path = base .. (number > 1 and "-" .. number or "") .. "." .. format
    if not exists(path) then return path end
  end
end

-- Imports a result and groups it with its frames, as their leader.
local function import(path, frames)
  local image = dt.database.import(path)
  if not image then
    dt.print("smarthdr wrote " .. path .. ", but darktable could not import it")
    return nil
  end
  for _, frame in ipairs(frames) do
    frame:group_with(image)
  end
  image:make_group_leader()
  return image
end

-- Fuses `images` as one bracket; returns the imported result, or nil and a message.
local function fuse_one(images)
  local frames = frames_of(images)
  if #frames < 2 then
    return nil, "select the frames of a bracket, two or more"
  end
  local path = free_path(frames, preference("format", "string"))
  if not path then
    return nil, "too many results of this bracket exist already in " .. frames[1].path
  end
  local arguments = { "fuse" }
  for _, frame in ipairs(frames) do
    arguments[#arguments + 1] = quoted(path_of(frame))
  end
  for _, argument in ipairs({ "-o", quoted(path), "--quiet", preference("options", "string") }) do
    arguments[#arguments + 1] = argument
  end
  local ok, _, message = run(arguments)
  if not ok then
    return nil, message
  end
  return import(path, frames), message
end

-- Sorts `images` into brackets and fuses each; returns the imported results and a message.
local function fuse_many(images)
  local frames = frames_of(images)
  if #frames < 2 then
    return {}, "select the frames of one or more brackets"
  end
  local arguments = { "group", "--across-folders", "--json", "--quiet" }
  local by_path = {}
  for _, frame in ipairs(frames) do
    by_path[path_of(frame)] = frame
    arguments[#arguments + 1] = quoted(path_of(frame))
  end
  local ok, lines, message = run(arguments)
  if not ok then
    return {}, message
  end
  local results, left, failed = {}, 0, ""
  for _, line in ipairs(lines) do
    if line:find('"kind": "set"', 1, true) then
      local members = {}
      for path, frame in pairs(by_path) do
        if line:find(json_string(path), 1, true) then members[#members + 1] = frame end
      end
      if line:find('"ambiguous": true', 1, true) then
        left = left + 1
      else
        local image, reason = fuse_one(members)
        if image then results[#results + 1] = image else failed = reason end
      end
    end
  end
  local text = #results .. " brackets fused"
  if left > 0 then text = text .. ", " .. left .. " left alone as ambiguous: select one and fuse it as one bracket" end
  if failed ~= "" then text = text .. "; " .. failed end
  return results, text
end

-- A callback for a button or shortcut: shows a job while `fuse` runs, and its message at the end.
local function action(title, fuse)
  return function(_, images)
    local job = dt.gui.create_job("smarthdr: " .. title, false)
    local ok, result, message = pcall(fuse, images or dt.gui.action_images)
    job.valid = false
    if not ok then
      dt.print_error(MODULE .. ": " .. tostring(result))
      dt.print("smarthdr: " .. tostring(result))
    elseif message and message ~= "" then
      dt.print("smarthdr: " .. message)
    elseif result then
      dt.print("smarthdr: " .. result.filename)
    end
    return result
  end
end

local actions = {
  { id = "smarthdr_one", label = "fuse one bracket", fuse = fuse_one,
    tooltip = "fuse the selected images as one bracket with smarthdr" },
  { id = "smarthdr_many", label = "fuse brackets", fuse = fuse_many,
    tooltip = "sort the selected images into brackets and fuse each with smarthdr" },
}

for _, entry in ipairs(actions) do
  local callback = action(entry.label, entry.fuse)
  dt.gui.libs.image.register_action(entry.id, entry.label, callback, entry.tooltip)
  dt.register_event(entry.id, "shortcut", function(event) return callback(event, dt.gui.action_images) end, entry.label)
end

return { fuse_one = fuse_one, fuse_many = fuse_many }
