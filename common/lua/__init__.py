"""The Lua scripts: one state change of a pool in each file, loaded by `common.scripts`."""
