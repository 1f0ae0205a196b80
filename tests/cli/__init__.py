"""The command line, against an API that says what the test wants."""
