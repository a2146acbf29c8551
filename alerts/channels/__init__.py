"""One file a channel; an error says whether trying again can help."""
