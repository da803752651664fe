"""Tasks: submit, claim, complete, retry, dead letters, depth. One Lua script for each step."""
