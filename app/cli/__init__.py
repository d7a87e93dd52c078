"""The commands `traffic_router` and `blue_green_deploy`: where arguments are read and answers are printed.

The only rooms that print, and that turn an `OperatorError` into an exit code. Nothing imports them.
"""
