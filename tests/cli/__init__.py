"""The commands, run in this process and as real ones."""
