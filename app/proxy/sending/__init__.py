"""Sending once more what a version has refused: when, how often, and how long one waits for it."""
