"""A whole cluster on one machine: starts, watches and stops Postgres, Valkey, Caddy and our own processes."""
