"""The deploy commands: `deployer`, `modes`, `pruning` and `repair` are what the command line asks for.

`phases` is the table of what each command goes through, `steps` what can be done to a deployment, `events` what is told
meanwhile, `traffic` what is seen of the router. The rooms: `processes`, `record`, `release`, `judge`, `run`.
"""
