"""Tables and properties of app/protocol: bytes in, values or an error out."""
