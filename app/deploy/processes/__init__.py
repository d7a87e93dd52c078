"""The kernel's side: processes started, looked at and stopped, what they are started with, their ports and logs."""
