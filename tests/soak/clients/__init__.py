"""The clients of the soak, one module for each manner of asking; each kind is a process of its own."""
