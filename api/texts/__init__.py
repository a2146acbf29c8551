"""What refusals say: one file a module, each with its `TEXTS`; all of them are in the catalogue."""
