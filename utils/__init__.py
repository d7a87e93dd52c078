"""Signposts only: the documented import paths, each of which leads to the room in `app` where the code is."""
