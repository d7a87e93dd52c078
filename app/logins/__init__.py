"""Who asks: tokens and the keys that they are signed with, and auth services that are asked about a request."""
