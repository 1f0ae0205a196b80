"""The coordinating process: folds the log, plans, appends its decisions under its epoch and rings the agents.

The deciding is pure and lives in `reconciler.planner`; everything else here is the shell around it.
"""
