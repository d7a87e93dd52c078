"""The settings: what can be set, what it may be, and where a value came from.

`engine` knows how a setting is declared, read and checked, `kinds` the kinds of values, `checks` what a text may be.
`tables` has one module for each table of `traffic_router.toml`, and nothing else needs to know of a new one. `loading`
puts the layers together, `file` reads the file.
"""
