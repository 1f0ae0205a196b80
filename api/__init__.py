"""The HTTP process: answers reads and long polls from its own fold of the log, and appends what users ask for.

The only home of the web framework and of token signing. It never talks to the reconciler or an agent: they meet in
the log, in the command streams and over HTTP.
"""
