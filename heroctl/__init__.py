"""HeroCtl: the domain below every process, and the command line and dev mode above them."""
