-- Drives darktable from inside: imports a folder, uses smarthdr.lua on it, and writes what came of it, a line each.
local dt = require "darktable"
local folder, script, log_path = os.getenv("DRIVE_FOLDER"), os.getenv("DRIVE_SCRIPT"), os.getenv("DRIVE_LOG")
local log = io.open(log_path, "w")

local function say(...)
  log:write(table.concat({ ... }, "\t") .. "\n")
  log:flush()
end

local function frames_in(name)
  local images = {}
  for _, image in ipairs(dt.database) do
    if image.path == folder .. "/" .. name then images[#images + 1] = image end
  end
  return images
end

local function describe(result)
  local leader = result.group_leader.filename
  return result.filename, tostring(#result:get_group_members()), leader
end

local function drive()
  package.path = script:match("^(.*)/") .. "/?.lua;" .. package.path
  local smarthdr = require "smarthdr"
  dt.preferences.write("smarthdr", "command", "string", os.getenv("DRIVE_COMMAND"))
  dt.preferences.write("smarthdr", "options", "string", "--deghost off --align none --device cpu")
  dt.database.import(folder .. "/one")
  dt.database.import(folder .. "/many")
  while #frames_in("one") < 3 or #frames_in("many") < 7 do dt.control.sleep(200) end

  local bracket = frames_in("one")
  say("one", describe(smarthdr.fuse_one(bracket)))
  say("again", describe(smarthdr.fuse_one(bracket)))
  dt.preferences.write("smarthdr", "format", "string", "tif")
  say("tif", describe(smarthdr.fuse_one(bracket)))
  dt.preferences.write("smarthdr", "format", "string", "exr")

  local results, message = smarthdr.fuse_many(frames_in("many"))
  table.sort(results, function(a, b) return a.filename < b.filename end)
  for _, result in ipairs(results) do say("many", describe(result)) end
  say("many", message)

  say("single", select(2, smarthdr.fuse_one({ bracket[1] })))
  dt.preferences.write("smarthdr", "options", "string", "--reference 9")
  say("refused", select(2, smarthdr.fuse_one(bracket)))
  dt.preferences.write("smarthdr", "command", "string", "/nowhere/smarthdr")
  say("missing", select(2, smarthdr.fuse_one(bracket)))
end

dt.control.dispatch(function()
  local ok, reason = pcall(drive)
  say(ok and "done" or "error", tostring(reason))
  log:close()
end)
