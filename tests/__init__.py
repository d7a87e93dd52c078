"""The project's tests: they mirror `app/`, plus `integration/` (real processes), `support/` and `corpus/`."""
