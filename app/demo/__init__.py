"""The sample application that blue and green run when nothing else is configured.

It knows nothing of the router, as an application should.
"""
