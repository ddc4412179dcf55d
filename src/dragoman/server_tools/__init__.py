"""Tools that run on this server, inside an answer."""
