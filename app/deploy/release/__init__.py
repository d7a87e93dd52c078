"""What a version is started with: how it is made and remembered, where it lies, and what becomes of old ones."""
