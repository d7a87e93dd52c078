"""The documentation is held to what the program does: commands are run, links followed, names looked up."""
