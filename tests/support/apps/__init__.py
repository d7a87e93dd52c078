"""Small real applications that integration tests run behind the router."""
