"""How a version is started, judged, made active and stopped, and the record of every time that was done.

`phases` is the table of steps; `launch` and `processes` know commands and processes, `supervisor` outlives
the command that started a version; `deployer` carries a whole command out. Nothing in here prints: what
happens is told as `events`.
"""
