"""The command line: one noun per file, talking to the API over HTTP and to nothing else.

It must start fast, so no server framework, database driver or container library is imported here.
"""
