"""The live page: what an operator wants to see in the five minutes of a deploy, and of the six hours before.

Read-only. One observation a second and worker serves every viewer; the page is whole before any script runs.
What is drawn is decided in pure modules (`words`, `sentence`, `annotations`, `charts`, `model`); `observer` looks,
`live` tells the viewers, `view` answers.
"""
