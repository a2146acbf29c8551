"""One file a module, each with its `router`; all of them are mounted at start."""
