"""The deploy commands: `deployer`, `foreground_run`, `modes`, `pruning` and `repair` are what the command line
asks for.

`phases` is the table of what each command goes through, `plan` what one command will do, `deployment` what it is done
to, `plan_run` how far it is, `events` what is told meanwhile, `traffic` what is seen of the router. The rooms:
`processes`, `record`, `release`, `judge`, `run`.
"""
