"""What is written down of commands: the history with its chain of hashes, and the receipts of switches."""
