"""Top floor: the claims ledger, exercises, notebook runner, slides, doctor and command line."""
