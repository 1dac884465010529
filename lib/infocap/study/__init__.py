"""The machinery that takes a number from a profile to a page: cells, store, sweep, tables, claims, runner."""
