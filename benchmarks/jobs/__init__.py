"""One job a file: `run(setup)` yields figures."""
