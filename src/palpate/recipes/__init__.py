"""One file a method: frozen configuration, wiring, citation."""
