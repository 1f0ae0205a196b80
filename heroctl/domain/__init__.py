"""The pure core: words, rules and the fold. Standard library and msgspec only; no clock, no chance, no I/O."""
