"""The event log and everything else that is durable: appends, tails, snapshots, leases, the vault and samples.

The only home of the database driver. The memory and the Postgres log keep one contract.
"""
