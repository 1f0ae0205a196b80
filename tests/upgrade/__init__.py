"""The release after this one, for tests of rolling upgrades: as this one, with a later schema and a later field.

`tests.upgrade.api` and `tests.upgrade.reconciler` run the parts as that release.
"""
